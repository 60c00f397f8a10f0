"""All measurements by name, fast ones first."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from . import (
    checkpoints,
    fashion,
    front,
    latency,
    learners,
    pytorch,
    replicas,
    searches,
    selection,
    sharded,
    steps,
    training,
)
from .measure import Measurement, Options

_TRAINING: dict[str, Callable[[Options], Measurement]] = {
    "fashion_2pct": fashion.fashion_2pct,
    "compilations": training.compilations,
    "masked_step_ratio": functools.partial(steps.masked_step_ratio, model="lenet300"),
    "segments_ratio": steps.segments_ratio,
    "loop_ratio": training.loop_ratio,
    "front_wall_ratio": functools.partial(front.front_wall_ratio, times=1),
    "front_wall_ratio_long": functools.partial(front.front_wall_ratio, times=3),
    "front_latency_unblocked": latency.front_latency_unblocked,
    "replicas_ratio": replicas.replicas_ratio,
    "replicas_ratio_conv": replicas.replicas_ratio_conv,
    "replicas_loop_ratio": replicas.replicas_loop_ratio,
    "sparse_vd_ratio": functools.partial(learners.learner_ratio, method="sparse_vd", target=2.5),
    "serene_ratio": functools.partial(
        learners.learner_ratio, method="serene", target=4.0, kind="exact"
    ),
    "torch_ratio_lenet300": functools.partial(pytorch.torch_ratio, model="lenet300", target=0.75),
    "torch_ratio_lenet5": functools.partial(pytorch.torch_ratio, model="lenet5", target=1.0),
    "masked_step_ratio_resnet": functools.partial(steps.masked_step_ratio, model="resnet"),
    "mask_update_ratio": steps.mask_update_ratio,
    "sharded_step_resnet": functools.partial(sharded.sharded_step, model="resnet"),
    "sharded_step_vit": functools.partial(sharded.sharded_step, model="vit"),
    "checkpoint_async": checkpoints.checkpoint_async,
    "top_k_ratio_10m": functools.partial(selection.top_k_ratio, size=10_000_000),
    "top_k_ratio_25m": functools.partial(selection.top_k_ratio, size=25_000_000),
}
_SEARCHING: dict[str, Callable[[Options], Measurement]] = {
    "table_loading": searches.loading,
    "proposals_random": functools.partial(searches.proposals, strategy="random", target=0.5),
    "proposals_evolution": functools.partial(searches.proposals, strategy="evolution", target=0.5),
    "proposals_lanas": functools.partial(searches.proposals, strategy="lanas", target=5.0),
}
_RELEASED: Mapping[str, Any] = {"regressor": "released"}
_OPTIMA: dict[str, Callable[[Options], Measurement]] = {
    "_".join([oracle, strategy, *settings.values()]): functools.partial(
        searches.evaluations_to_optimum,
        oracle=oracle, strategy=strategy, target=target, **settings,
    )
    for oracle, strategy, target, settings in (
        ("nas_bench_201", "evolution", 160, {}),
        ("nas_bench_201", "local", 140, {}),
        ("nas_bench_201", "lanas", 450, {}),
        ("nas_bench_201", "lanas", 400, _RELEASED),
        ("nas_bench_201", "predictor", 80, {}),
        ("nas_bench_201_cifar100", "evolution", 150, {}),
        ("nas_bench_201_cifar100", "local", 150, {}),
        ("nas_bench_201_cifar100", "lanas", 220, {}),
        ("nas_bench_201_cifar100", "lanas", 270, _RELEASED),
        ("nas_bench_201_cifar100", "predictor", 80, {}),
        ("nas_bench_macro", "evolution", 120, {}),
        ("nas_bench_macro", "local", 250, {}),
        ("nas_bench_macro", "lanas", 200, {}),
    )
}  # fmt: skip
MEASUREMENTS: Mapping[str, Callable[[Options], Measurement]] = _TRAINING | _SEARCHING | _OPTIMA
