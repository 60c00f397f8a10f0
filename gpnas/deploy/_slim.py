"""A trained network made smaller: units pruned while it is trained further, then removed."""

import contextlib
import pathlib
import tempfile
from typing import Any, NamedTuple

import jax
import numpy as np

from gpnas import units
from gpnas.data import Dataset
from gpnas.deploy._compact_network import Network, compact_network
from gpnas.errors import UserError
from gpnas.train import Task, base, load_run, train

_ROUNDS = 30  # of the bisection for a density; units are fewer than 2**30


class Slim(NamedTuple):
    """A smaller network.

    Attributes:
      network: The network without inactive units: `network.apply(network.variables, inputs)`.
      variables: Its variables before they were removed, masked.
      record: The record of the run: metrics, cost, curve.
    """

    network: Network
    variables: Any
    record: dict[str, Any]


def slim(
    task: Task,
    variables: Any,
    data: Dataset,
    *,
    target: float = 0.25,
    cost: str = "macs",
    epochs: int = 10,
    learning_rate: float = 0.02,
    batch_size: int = 128,
    seed: int = 0,
    workdir: str | pathlib.Path | None = None,
) -> Slim:
    """Prunes the units of a trained network to a fraction of its cost, and trains it meanwhile.

    Each group of units is pruned from its full width to the same fraction of it, by the effect of
    a unit on the loss; of the evaluated networks that are that small, the best on the validation
    examples is returned. `./run.sh train --config=configs/slim.py` is the same from a command line.

    Args:
      task: What the network was trained on.
      variables: Its trained variables.
      data: The data set.
      target: Fraction of the cost that is kept, in (0, 1].
      cost: "macs", "params" or "flops".
      epochs: Length of the training; units are pruned in the first 60 % of it.
      learning_rate: Of SGD with momentum 0.9, at the start; it falls to zero as a cosine.
      batch_size: Examples per step.
      seed: Of the order of the examples.
      workdir: Folder for the run, as of `train`; a temporary one by default.

    Raises:
      UserError: If an argument is out of range, or the network has no units to prune.
    """
    if not 0 < target <= 1:
        raise UserError("target", target, "a fraction in (0, 1]")
    density = unit_density(task, variables, data, target, cost)
    config = base(
        name="development_units", density=density, peak=1 / density, peak_at=0.0, stop_at=0.6,
        every="auto", window="auto", protect="auto", rest="auto", survival_age="auto",
    )  # fmt: skip
    config.seed, config.train.epochs, config.train.batch_size = seed, epochs, batch_size
    config.optimizer.learning_rate = learning_rate
    with contextlib.ExitStack() as stack:
        folder = workdir or stack.enter_context(tempfile.TemporaryDirectory())
        record = train(config, folder, data, task=task, variables=variables)
        found = load_run(pathlib.Path(folder), data=data, task=task).variables
    return Slim(compact_network(task.model, found, data.input_shape), found, record)


def unit_density(
    task: Task, variables: Any, data: Dataset, target: float, cost: str = "macs"
) -> float:
    """The largest active fraction, equal for all groups of units, that costs a target at most.

    Args:
      task, variables, data, target, cost: As for `slim`.

    Raises:
      UserError: If the network has no units to prune, or one unit per group costs more.
    """
    inputs = jax.ShapeDtypeStruct((1, *data.input_shape), np.float32)
    model = units.cost_model(task.model.infer, variables, inputs)
    groups = units.groups_in_collection(units.discover(task.model.infer, variables, inputs))
    if not groups.groups:
        raise UserError("model", type(task.model.module).__name__, "a network with units to prune")

    def relative_cost(density: float) -> float:
        masks = {}
        for group in groups.groups:
            active = max(round(density * group.size), 1)
            masks[group.name] = np.arange(group.size) < active
        return float(units.total_cost(model, masks, cost)) / float(
            units.total_cost(model, {}, cost)
        )

    low, high = 0.0, 1.0
    if relative_cost(high) <= target:
        return high
    if relative_cost(low) > target:
        raise UserError("target", target, f"{relative_cost(low):.4f} or more: one unit per group")
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if relative_cost(middle) <= target else (low, middle)
    return low or high
