"""Every measurement by its name, quick ones first."""

import functools
from collections.abc import Callable, Mapping

from gpnas.benchmark import fashion, lanes, learners, pytorch, selection, steps, training
from gpnas.benchmark.measure import Measurement, Options

MEASUREMENTS: Mapping[str, Callable[[Options], Measurement]] = {
    "fashion_2pct": fashion.fashion_2pct,
    "compilations": training.compilations,
    "masked_step_ratio": functools.partial(steps.masked_step_ratio, model="lenet300"),
    "loop_ratio": training.loop_ratio,
    "lanes_ratio": lanes.lanes_ratio,
    "sparse_vd_ratio": functools.partial(learners.learner_ratio, method="sparse_vd", target=2.5),
    "serene_ratio": functools.partial(
        learners.learner_ratio, method="serene", target=4.0, kind="exact"
    ),
    "torch_ratio_lenet300": functools.partial(pytorch.torch_ratio, model="lenet300", target=0.75),
    "torch_ratio_lenet5": functools.partial(pytorch.torch_ratio, model="lenet5", target=1.0),
    "masked_step_ratio_resnet": functools.partial(steps.masked_step_ratio, model="resnet"),
    "top_k_ratio_10m": functools.partial(selection.top_k_ratio, size=10_000_000),
    "top_k_ratio_25m": functools.partial(selection.top_k_ratio, size=25_000_000),
}
