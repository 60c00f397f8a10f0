"""Makes a trained network smaller: prunes units during further training, then removes them."""

import contextlib
import pathlib
import tempfile
from typing import Annotated, Any, Literal, NamedTuple

from gpnas import plugins
from gpnas._files import PathLike
from gpnas.data import Dataset, require_kind
from gpnas.deploy._compact_network import Network, compact_network
from gpnas.errors import UserError
from gpnas.plugins import In
from gpnas.train import Task, base, load_run, train

_STOP = 0.6  # fraction of the run in which units are pruned


class Slim(NamedTuple):
    """A compacted network.

    Attributes:
      network: The network without inactive units: `network.apply(network.variables, inputs)`.
      record: The record of the run: metrics, cost, curve.
    """

    network: Network
    record: dict[str, Any]


def slim(
    task: Task,
    variables: Any,
    data: Dataset,
    *,
    target: Annotated[float, In(0, 1, open="low")] = 0.25,
    cost: Literal["macs", "params", "flops"] = "macs",
    epochs: int = 10,
    learning_rate: float = 0.02,
    batch_size: int = 128,
    seed: int = 0,
    workdir: PathLike | None = None,
) -> Slim:
    """Prunes the units of a trained network to a fraction of its cost while training it further.

    Units of all layers compete by their effect on the loss per cost (`development_cost`). The
    result is the selected network of the run: of the evaluated ones with the fewest active weights
    (within 1 %), the one with the best validation metric. If that one was evaluated before the
    cost reached the target, the result is the last network. `gpnas train --config=slim` is the
    same run.

    Args:
      task: Task that the network was trained on.
      variables: Its trained variables.
      data: The data set.
      target: Remaining fraction of the cost, in (0, 1].
      cost: Kind of cost.
      epochs: Length of the training; units are pruned in the first 60 % of it.
      learning_rate: Initial learning rate of SGD with momentum 0.9; cosine decay to zero.
      batch_size: Examples per step.
      seed: Seed of the order of examples.
      workdir: Folder of the run, as for `train`; a temporary one by default.

    Returns:
      The compacted network, and the record of the run.

    Raises:
      UserError: If an argument has another type or is out of range, the variables or data do not
        match the task's network, or it has no units to prune.
    """
    parameters = plugins.parameters_of(slim)
    numbers = {"target": target, "cost": cost, "epochs": epochs, "learning_rate": learning_rate}
    for name, value in (numbers | {"batch_size": batch_size, "seed": seed}).items():
        plugins.check_value(name, value, parameters[name])
    for field, given, kind in (("task", task, Task), ("data", data, Dataset)):
        if not isinstance(given, kind):
            raise UserError(field, type(given).__name__, f"a gpnas {kind.__name__}")
    require_kind(data, inputs=("image", "features"))
    if variables is None:
        raise UserError("variables", None, "those of the trained network, as `task.init` has them")
    curve = ((0.0, 1.0), (_STOP, target))
    config = base(name="development_cost", curve=curve, cost=cost, every="auto", window="auto")
    config.seed, config.train.epochs, config.train.batch_size = seed, epochs, batch_size
    config.optimizer.learning_rate = learning_rate
    config.model.name = config.task.name = "given"
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(workdir or stack.enter_context(tempfile.TemporaryDirectory()))
        record = train(config, folder, data, task, variables)
        found = load_run(folder, _within_target(record), data, task).variables
    return Slim(compact_network(task.model, found, data.input_shape), record)


def _within_target(record: dict[str, Any]) -> str:
    """Returns "selected" if that network was evaluated after the last mask update, else "last"."""
    reached = round(_STOP * record["total_steps"]) + record["durations"]["every"]
    return "selected" if record["metrics"]["selected_step"] >= reached else "last"
