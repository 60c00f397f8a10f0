"""Arms: coupled growth and pruning, its ablations, and baselines at equal training FLOPs."""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from configs import development, gmp, granet, pipeline, rigl, snfs, static
from configs import set as sparse_evolution
from experiments.studies.recipes import WINDOW, pinned
from gpnas.methods import match_flops, relative_flops
from gpnas.train import base

EPOCHS = 10
STEPS = 421  # per epoch
#: The densities whose weight decay is chosen apart.
SPARSEST = (0.005, 0.002)
#: Training settings of LeNet-300-100 on MNIST and Fashion-MNIST, batch 128.
RUN: dict[str, Any] = {
    "batch_size": 128,
    "shapes": {
        "Dense_0/kernel": (784, 300),
        "Dense_1/kernel": (300, 100),
        "Dense_2/kernel": (100, 10),
    },
}
OURS = "development"
_PACKAGE = "experiments.studies.coupling"
_OF_CURVE = ("density", "peak", "churn", "every", "window", "allocation")


class Arm(NamedTuple):
    """An arm of the study.

    Attributes:
      get_config: Config of the method, at any density.
      changes: Changed fields of the method.
      solved: The field that is solved for given training FLOPs; empty: the FLOPs are the method's
        own.
      of_gmp: The given training FLOPs relative to those of GMP; None: those of `OURS`.
    """

    get_config: Callable[[], ConfigDict]
    changes: dict[str, Any] = {}
    solved: str = ""
    of_gmp: float | None = None


def _own(function: str, **fields: Any) -> Callable[[], ConfigDict]:
    return lambda: base(name=f"{_PACKAGE}.{function}", density=0.02, every="auto", **fields)


#: Arms with a given density, by name.
ARMS: dict[str, Arm] = {
    OURS: Arm(development.get_config, {"window": WINDOW}, "peak"),
    "pipeline": Arm(pipeline.get_config, {"allocation": "global"}, "peak"),
    "magnitude and gradient": Arm(
        development.get_config, {"grow": "gradient", "window": 1}, "peak"
    ),
    "random growth": Arm(development.get_config, {"grow": "random", "window": 1}, "peak"),
    "SENN scores": Arm(_own("rivals:senn", window=5, allocation="global"), {}, "peak"),
    "GMP sparse start": Arm(gmp.get_config, {}, "first"),
    "GraNet matched": Arm(granet.get_config, {}, "first"),
    "MEST matched": Arm(_own("rivals:mest", extra=0.05, allocation="erk"), {}, "extra"),
    "CHTss matched": Arm(_own("chtss:chtss", first=0.5, allocation="erk"), {}, "first"),
    "RigL": Arm(rigl.get_config),
    "SET": Arm(sparse_evolution.get_config),
    "SNFS": Arm(snfs.get_config),
    "GraNet": Arm(granet.get_config),
    "GMP": Arm(gmp.get_config),
    "random": Arm(static.get_config),
}
#: Arms that are repeated on other data and networks.
REPEATED = (OURS, "GMP sparse start", "GraNet matched", "random growth")
WINDOW_1_HIGHER = "window 1 and higher peak"
#: Development with a window of 1: the same peak, a fifth of GMP's training FLOPs, or those of
#: `OURS` and of the arms that grow by |g| of one batch.
WINDOW_1: dict[str, Arm] = {
    "window 1": Arm(development.get_config, {"window": 1}),
    "window 1 and lower peak": Arm(development.get_config, {"window": 1}, "peak", 1 / 5),
    WINDOW_1_HIGHER: Arm(development.get_config, {"window": 1}, "peak"),
}
#: Arms with the training FLOPs of `OURS`.
MATCHED = tuple(name for name, arm in ARMS.items() if arm.solved and name != OURS)


def config_of(
    name: str,
    density: float,
    weight_decay: float = 0.0,
    *,
    epochs: int = EPOCHS,
    flops: float | None = None,
) -> ConfigDict:
    """Returns the config of an arm at a density.

    Args:
      name: Name of the arm, or "dense".
      density: Final density.
      weight_decay: Weight decay chosen on validation.
      epochs: Length.
      flops: Training FLOPs of the arms that can be solved, relative to a dense run of `EPOCHS`
        epochs; None: those of `OURS` as its config has it, or those of the arm's `of_gmp`.

    Raises:
      UserError: If no settings of the arm have these training FLOPs.
    """
    arm = (ARMS | WINDOW_1).get(name)
    config = arm.get_config() if arm else base()
    config.train.epochs, config.train.tensorboard, config.train.log_every = epochs, False, STEPS
    config.optimizer.weight_decay = weight_decay
    if arm is None:
        return config
    with config.method.ignore_type():
        config.method.update(arm.changes | {"density": density})
    pinned(config)
    if not arm.solved or (name == OURS and flops is None):
        return config
    if flops is None:
        of_gmp = arm.of_gmp and arm.of_gmp * _cost(config_of("GMP", density))
        flops = of_gmp or target(density)
    solve(config, arm.solved, flops * EPOCHS / epochs, {**RUN, "total_steps": STEPS * epochs})
    return config


def with_method(config: ConfigDict, name: str, **fields: Any) -> None:
    """Replaces development by another method with its density curve.

    Args:
      config: Config of development.
      name: Name of the method.
      fields: Fields of the method besides those of the curve.
    """
    shared = {field: config.method[field] for field in _OF_CURVE}
    config.method = ConfigDict({"name": name, **fields, **shared})


def solve(config: ConfigDict, field: str, goal: float, run: Mapping[str, Any]) -> None:
    """Sets a field of the method so that it has given training FLOPs, see `match_flops`.

    Args:
      config: Config of an arm.
      field: Name of the field; its value is rounded to four digits.
      goal: Training FLOPs relative to a dense run of equal length.
      run: Arguments of `gpnas.methods.build` that depend on the network and the run.
    """
    settings = json.dumps(config.method.to_dict(), sort_keys=True)
    config.method[field] = _solution(settings, field, goal, json.dumps(run))


@functools.cache  # studies share their solutions, each of which takes about a second
def _solution(settings: str, field: str, goal: float, run: str) -> float:
    method, arguments = json.loads(settings), json.loads(run)
    arguments["shapes"] = {path: tuple(shape) for path, shape in arguments["shapes"].items()}
    density = method["density"]
    ranges = {"first": (density, 1.0), "peak": (1.0, 1 / density), "extra": (0.0, 1 - density)}
    found = match_flops(method, goal, field, ranges[field], **arguments)
    return float(f"{found[field]:.4g}")


@functools.cache
def target(density: float) -> float:
    """Returns the training FLOPs of development at a density, relative to dense training."""
    return _cost(config_of(OURS, density))


def _cost(config: ConfigDict) -> float:
    """Returns training FLOPs relative to dense training, for a run of `EPOCHS` epochs."""
    return relative_flops(config.method.to_dict(), **RUN, total_steps=STEPS * EPOCHS)
