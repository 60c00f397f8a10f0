"""What the rivals share: configs of their runs, and the fields of a network."""

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

_REST = 0.775  # fraction of a front's main run after which the cost of its only level is reached
_FIRST = 0.1  # and before which it does not change


class Context(NamedTuple):
    """What all runs of the study share.

    Attributes:
      config: Of the study.
      options: Where it works.
      data: The images.
      costs: Of the network's widths.
      fronts: By seed, the record of the front.
      scratch_rate: Learning rate of networks that are trained from scratch.
    """

    config: ConfigDict
    options: Options
    data: Dataset
    costs: WidthCosts
    fronts: Mapping[int, Mapping[str, Any]]
    scratch_rate: float


def costs_of(config: ConfigDict, data: Dataset) -> WidthCosts:
    """The costs of the widths of the study's network."""
    model = build_model(config.front.model, data.num_classes)
    one = jax.ShapeDtypeStruct((1, *data.input_shape), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), one)
    return width_costs(model, variables, data.input_shape)


def run_config(config: ConfigDict, seed: int, rate: float, epochs: int) -> ConfigDict:
    """The config of one run: constant rate, then linear to zero, as along a front and a branch."""
    one = config.front.copy_and_resolve_references().unlock()
    for field in {*one} - {*base()}:  # of a front
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
    """Fraction of a network's training that belongs to the main run of a front."""
    epochs = config.front.train.epochs
    return float(epochs / (epochs + config.front.branch_epochs))


def scratch_epochs(context: Context, seed: int) -> int:
    """Epochs of the study `front` for networks from scratch: a front's FLOPs for four of them."""
    front = context.fronts[seed]
    one = [*front["retrained"], *front["uniform"]][0]
    return round(one["train_flops"] / train_flops(context, one["macs"], epoch_steps(context)))


def epoch_steps(context: Context) -> int:
    """Steps of an epoch."""
    return len(context.data.train) // int(context.config.front.train.batch_size)


def train_flops(context: Context, macs: float, steps: float) -> float:
    """FLOPs of training steps, forward and backward, of a network with so many MACs."""
    return 6 * macs * context.config.front.train.batch_size * steps


def train_scratch(
    context: Context, widths: Widths, seed: int, epochs: int | None = None
) -> dict[str, Any]:
    """Trains a network of given widths from scratch, once a seed.

    Args:
      context: Of the study.
      widths: Of the network.
      seed: Of the run.
      epochs: Its length; by default that of the study `front`.
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
    context: Context, level: float, first: float, method: Mapping[str, Any], seed: int,
    rate: float, name: str,
) -> dict[str, Any]:  # fmt: skip
    """Trains a network whose cost goes from one level to another, then stays there.

    Args:
      context: Of the study.
      level: Its last cost, as a fraction of the whole network's.
      first: The cost at its start.
      method: Fields of the method that differ from the front's.
      seed, rate: Of the run.
      name: Of its folder.
    """
    front = context.config.front
    one = run_config(context.config, seed, rate, front.train.epochs + front.branch_epochs)
    part = constant_part(context.config)
    curve = ((0.0, first), (_FIRST * part, first), (_REST * part, level))
    one.method.update({"curve": curve, "cost": front.front_by, **method})
    record = train(one, folder(context, f"{name}-{level:g}-{rate:g}-{seed}"), context.data)
    return network(context, record, record["architecture"]["fields"]["widths"]) | {"level": level}


def folder(context: Context, name: str) -> pathlib.Path:
    """The folder of a run."""
    return context.options.workdir / str(context.config.study) / name


def described(context: Context, widths: Sequence[int]) -> dict[str, Any]:
    """Widths and MACs of a network."""
    macs = context.costs.macs(tuple(widths))
    relative = macs / context.costs.macs(context.costs.whole)
    return {"widths": list(widths), "macs": macs, "relative_macs": relative}


def network(context: Context, record: Mapping[str, Any], widths: Sequence[int]) -> dict[str, Any]:
    """The fields of a network that was trained by a run of its own."""
    return described(context, widths) | {
        "test_error": record["metrics"]["test_error_last"],
        "val_error": record["metrics"]["val_error_last"],
        "train_flops": record["cost"]["train_flops"],
        "wall_s": record["wall_s"],
    }
