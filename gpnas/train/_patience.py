"""Early stopping: a run ends when the validation metric stops improving.

Only evaluations of the final masks count: those after the last step at which the method's schedule
may update the masks (`MaskTransform.may_change`). Metrics of earlier, denser networks are ignored.
A run is thus not stopped before its final density.
"""

from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from gpnas.errors import UserError
from gpnas.methods import Method
from gpnas.train._in_blocks import in_blocks
from gpnas.train.task import Metric

Values = Sequence[tuple[int, float]]  # (step, metric) of the evaluations of a run


def check_patience(config: ConfigDict, method: Method, steps_per_epoch: int) -> None:
    """Checks `train.patience` against the method's schedule.

    A patience that exceeds the evaluations of the whole run is allowed: it never ends the run.

    Raises:
      UserError: If it is negative. If it is positive, and the method changes the network on the
        host after evaluations, trains several times, or may update masks until too few evaluations
        are left.
    """
    train, name = config.train, config.method.name
    if train.patience < 0:
        raise UserError("train.patience", train.patience, "0 or more evaluations; 0: never")
    if train.patience == 0:
        return
    if method.hooks.on_eval is not None or method.trainings > 1:
        allowed = f"0 for method.name={name}, which changes the network after evaluations"
        raise UserError("train.patience", train.patience, allowed)
    total = train.epochs * steps_per_epoch
    final = masks_final(method, total)
    epochs = [*range(train.eval_every, train.epochs, train.eval_every), train.epochs]
    counted = sum(epoch * steps_per_epoch >= final for epoch in epochs)
    # The first evaluation is the reference, and stopping at the last one is not early.
    if counted - 2 < train.patience <= len(epochs) - 2:
        allowed = (
            f"at most {max(counted - 2, 0)}: method.name={name} may update masks until step {final}"
            f" of {total}, and evaluations count from there"
        )
        raise UserError("train.patience", train.patience, allowed)


def masks_final(method: Method, total_steps: int) -> int:
    """Returns the number of steps after which the schedule has no more mask updates."""
    blocks = in_blocks(jax.vmap(method.transform.may_change), total_steps)(0, total_steps)
    return max(
        (at + int(np.flatnonzero(may)[-1]) + 1 for at, may in blocks if may.any()), default=0
    )


def make_rule(
    train: ConfigDict, method: Method, total_steps: int, metric: Metric
) -> Callable[[Values], bool]:
    """Returns `values → bool`, whether to stop a run; never if `train.patience` is 0."""
    if not train.patience:
        return lambda values: False
    final = masks_final(method, total_steps)

    def out_of_patience(values: Values) -> bool:
        counted = (value for step, value in values if step >= final)
        return waited(counted, metric) >= train.patience

    return out_of_patience


def waited(values: Iterable[float], metric: Metric) -> int:
    """Returns the number of evaluations since the best one (the first of equal ones)."""
    best, since = metric.worst, 0
    for value in values:
        better = metric.improves(value, best)
        best, since = (value, 0) if better else (best, since + 1)
    return since
