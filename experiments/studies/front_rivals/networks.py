"""Common parts of the baselines: configs of their runs, and fields of a network."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.studies.front_rivals.space import WidthCosts, Widths, width_costs
from experiments.studies.study import Options
from gpnas.data import Dataset
from gpnas.train import base, build_model, train

_REST = 0.775  # fraction of the main run after which the cost of the only level is reached
FIRST = 0.1  # fraction before which the cost is constant


class Context(NamedTuple):
    """Settings shared by all runs of the study.

    Attributes:
      config: The study's config.
      options: Folders of the study.
      data: The data set.
      costs: Costs of the network's widths.
      fronts: Record of the front by seed.
      scratch_rate: Learning rate of networks that are trained from scratch.
    """

    config: ConfigDict
    options: Options
    data: Dataset
    costs: WidthCosts
    fronts: Mapping[int, Mapping[str, Any]]
    scratch_rate: float


def costs_of(config: ConfigDict, data: Dataset) -> WidthCosts:
    """Returns the costs of the widths of the study's network."""
    model = build_model(config.front.model, data.num_classes)
    one = jax.ShapeDtypeStruct((1, *data.input_shape), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), one)
    return width_costs(model, variables, data.input_shape)


def run_config(config: ConfigDict, seed: int, rate: float, epochs: int) -> ConfigDict:
    """Returns the config of a run: constant rate, then linear to zero, as for a front and a
    branch."""
    one = config.front.copy_and_resolve_references().unlock()
    for field in {*one} - {*base()}:  # fields of a front
        del one[field]
    constant = constant_part(config)
    one.seed, one.resume = seed, True
    one.optimizer.learning_rate = rate
    one.optimizer.schedule = "linear"
    one.optimizer.decay_at = constant
    one.optimizer.warmup_at *= constant
    one.train.epochs = epochs
    return one


def constant_part(config: ConfigDict) -> float:
    """Returns the fraction of a network's training that belongs to the main run of a front."""
    epochs = config.front.train.epochs
    return float(epochs / (epochs + config.front.branch_epochs))


def scratch_epochs(context: Context, seed: int) -> int:
    """Returns the epochs of networks from scratch in `front`: a front's FLOPs for four of them."""
    front = context.fronts[seed]
    one = [*front["retrained"], *front["uniform"]][0]
    return round(one["train_flops"] / train_flops(context, one["macs"], epoch_steps(context)))


def epoch_steps(context: Context) -> int:
    """Returns the number of steps per epoch."""
    return len(context.data.train) // int(context.config.front.train.batch_size)


def step_flops(macs: float, batch_size: int) -> float:
    """Returns the FLOPs of a training step (forward and backward) of a network with given MACs."""
    return 6 * macs * batch_size


def train_flops(context: Context, macs: float, steps: float) -> float:
    """Returns the FLOPs of training steps of a network with given MACs."""
    return step_flops(macs, context.config.front.train.batch_size) * steps


def train_scratch(
    context: Context, widths: Widths, seed: int, epochs: int | None = None
) -> dict[str, Any]:
    """Trains a network of given widths from scratch, once per seed.

    Args:
      context: Context of the study.
      widths: Widths of the network.
      seed: Seed of the run.
      epochs: Length of the run; by default that of the study `front`.
    """
    fitted = scratch_epochs(context, seed)
    epochs = fitted if epochs is None else epochs
    one = run_config(context.config, seed, context.scratch_rate, epochs)
    one.method = ConfigDict({"name": "dense"})
    one.elastic = False
    one.model.widths = widths
    longer = "" if epochs == fitted else f"-{epochs}"
    name = f"scratch-{'-'.join(map(str, widths))}{longer}-{seed}"
    return network(context, train(one, folder(context, name), context.data), widths)


def develop(
    context: Context, costs: Sequence[float], method: Mapping[str, Any], seed: int, rate: float,
    name: str,
) -> dict[str, Any]:  # fmt: skip
    """Trains a network whose cost changes, then stays constant.

    Args:
      context: Context of the study.
      costs: Initial cost, those on the way, and the final one, as fractions of the whole network's.
      method: Fields of the method that differ from the front's.
      seed, rate: Seed and learning rate of the run.
      name: Name of its folder.
    """
    level = costs[-1]
    one = development(context.config, costs, method, seed, rate)
    record = train(one, folder(context, f"{name}-{level:g}-{rate:g}-{seed}"), context.data)
    return network(context, record, record["architecture"]["fields"]["widths"]) | {"level": level}


def development(
    config: ConfigDict, costs: Sequence[float], method: Mapping[str, Any], seed: int, rate: float
) -> ConfigDict:
    """Returns the config of a run of `develop`; times between two costs are equal.

    Args:
      config: The study's config.
      costs, method, seed, rate: As for `develop`.
    """
    front = config.front
    one = run_config(config, seed, rate, front.train.epochs + front.branch_epochs)
    part = constant_part(config)
    times = np.linspace(FIRST * part, _REST * part, len(costs)).tolist()
    curve = ((0.0, costs[0]), *zip(times, costs, strict=True))
    one.method.update({"curve": curve, "cost": front.front_by, **method})
    return one


def folder(context: Context, name: str) -> pathlib.Path:
    """Returns the folder of a run."""
    return context.options.workdir / str(context.config.study) / name


def described(context: Context, widths: Sequence[int]) -> dict[str, Any]:
    """Returns the widths and MACs of a network."""
    macs = context.costs.macs(tuple(widths))
    relative = macs / context.costs.macs(context.costs.whole)
    return {"widths": list(widths), "macs": macs, "relative_macs": relative}


def network(context: Context, record: Mapping[str, Any], widths: Sequence[int]) -> dict[str, Any]:
    """Returns the fields of a network that was trained by its own run."""
    return described(context, widths) | {
        "test_error": record["metrics"]["test_error_last"],
        "val_error": record["metrics"]["val_error_last"],
        "train_flops": record["cost"]["train_flops"],
        "wall_s": record["wall_s"],
    }
