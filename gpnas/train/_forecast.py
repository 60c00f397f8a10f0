"""Forecast of a run before its first step: expected cost and number of mask updates."""

import math
from collections.abc import Mapping
from typing import Any

import jax

from gpnas.methods import Method, training_cost
from gpnas.train._in_blocks import in_blocks
from gpnas.units import Macs

FEW = 10  # a run warns if it has fewer mask updates
AT_MOST = "_at_most"


def expected(
    method: Method,
    params: Any,
    shapes: Mapping[str, tuple[int, ...]],
    macs: Macs,
    steps: int,
    examples: int,
    updates: int | None = None,
) -> dict[str, float]:
    """Computes the expected cost and number of mask updates of a run.

    Args:
      method: The method.
      params: Parameters of the network or their shapes.
      shapes: Shapes of the masked leaves by path.
      macs: MACs per example.
      steps: Length of the run.
      examples: Number of examples in all batches.
      updates: `mask_updates`.

    Returns:
      params, weights, inference_macs_dense, train_flops_dense; density, mean_training_density and
      train_flops, each with the suffix "_at_most" if the density depends on the data; mask_updates
      if a duration of the method determines it.
    """
    dense_macs = macs.total(params)
    relative, mean_density = training_cost(method.forecast, steps, shapes, macs.per_weight)
    others = method.forecast.relative_step_cost * macs.others
    trained = relative * (dense_macs - macs.others) + others
    suffix = AT_MOST if method.forecast.adaptive else ""
    return {
        "params": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "weights": sum(math.prod(shape) for shape in shapes.values()),
        f"density{suffix}": float(jax.jit(method.forecast.density)(steps)),
        f"mean_training_density{suffix}": mean_density,
        "inference_macs_dense": dense_macs,
        f"train_flops{suffix}": 6 * trained * examples,
        "train_flops_dense": 6 * dense_macs * examples,
        **({} if updates is None else {"mask_updates": updates}),
    }


def mask_updates(
    method: Method, durations: Mapping[str, int], steps: int, evaluations: int
) -> int | None:
    """Returns the largest number of mask updates of a run; None if no duration determines it.

    Args:
      method: The method.
      durations: Durations of the method, see `gpnas.methods.duration.resolve`.
      steps: Length of the run.
      evaluations: Number of evaluations on the validation set in the run.
    """
    if "patience" in durations:
        return evaluations // durations["patience"]
    if "every" not in durations or not method.gates.masked:  # masks only report the gates
        return None
    may_change = jax.jit(jax.vmap(method.transform.may_change))
    return sum(int(may.sum()) for _, may in in_blocks(may_change, steps)(0, steps))


def few_updates(updates: float | None, durations: Mapping[str, int], steps: int) -> str:
    """Returns a one-line warning if a run has few mask updates, else an empty text."""
    if updates is None or updates >= FEW:
        return ""
    interval = {name: durations[name] for name in ("patience", "every") if name in durations}
    shorter = [f"method.{name} below {value}" for name, value in interval.items() if value > 1]
    more = " or ".join(["train.epochs higher", "train.batch_size lower", *shorter])
    most = "at most " if "patience" in durations else ""
    return f"few mask updates, {most}{updates} in {steps} steps; for more of them set {more}"


def forecast_line(cost: Mapping[str, float]) -> str:
    """Formats the forecast of `expected` as one line."""
    bound = "at most " if f"density{AT_MOST}" in cost else ""
    density, flops = (
        cost[f"{name}{AT_MOST}" if bound else name] for name in ("density", "train_flops")
    )
    return (
        f"expected: {bound}{density:.2%} of {cost['weights']:,} weights in the end,"
        f" training FLOPs {bound}{flops / cost['train_flops_dense']:.3f} of dense"
    )
