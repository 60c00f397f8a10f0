"""Development under a cost curve: units of all layers compete by score per cost."""

import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np

from gpnas._files import read_json
from gpnas._settings import Count, Decay, Fraction, NonNegative
from gpnas.errors import UserError
from gpnas.masks import schedule
from gpnas.methods._method import Forecast, Hooks, Method, rate_until
from gpnas.methods._units import by_gain, unit_method
from gpnas.plugins import In
from gpnas.units import (
    CostModel,
    Costs,
    LatencyTable,
    UnitGroups,
    cost_budget,
    fewest_units,
    groups_in_params,
    relative_costs,
)

#: Points `(fraction of the run, active cost)`.
Curve = Annotated[tuple[tuple[float, float], ...], In(0, 1)]


def development_cost(
    *,
    curve: Curve,
    total_steps: int,
    batch_size: int,
    groups: UnitGroups,
    costs: CostModel,
    params: Any,
    cost: Literal["macs", "params", "flops", "latency"] = "macs",
    table: str = "",
    decay: Decay = 0.9,
    floor: Fraction = 1 / 16,
    every: Count,
    window: Count,
    round_to: Count = 1,
    spare: NonNegative = 0.0,
) -> Method:
    """Couples growth and pruning under a cost curve: units of all layers compete by score per cost.

    The cost of the active units follows the curve. Units with the lowest U per marginal cost are
    pruned, and units with the highest V per marginal cost are grown, as in `development_units`. No
    layer has a fixed share, so the method finds the widths of the layers.

    Args:
      curve: Points `(fraction of the run, active cost)`; the cost is a fraction of the whole
        network's and is interpolated geometrically. The first point is at the start of the run. If
        its cost is below 1, the initial units are random, with the same fraction in each layer.
        Masks no longer change after the last point.
      total_steps: Length of the run.
      batch_size: Examples per step, for the empirical Fisher.
      groups: Unit groups of the current network.
      costs: Costs of the units of the full supernet.
      params: Parameters of the current network, or their shapes.
      cost: What the curve counts, per example.
      table: For "latency", a JSON file of `units.measure_layers`.
      decay: Decay of the moving averages of the gradient and its square.
      floor: Minimum active fraction of each layer's units; at least one unit. Removable blocks
        compete as a whole and may all be removed.
      every: Steps between mask updates.
      window: Steps before each mask update in which statistics of the gradient are updated.
      round_to: The number of active units of a layer is a multiple of it, or all of them. Fewer
        MACs take less time if widths are multiples of the hardware's vector length, 8 or 16.
      spare: Spare capacity of an elastic run for inactive units, as a fraction of active ones.

    Raises:
      UserError: If the curve does not start at 0, its times decrease, a cost is 0 or below the
        minimum, `table` is missing or unreadable for "latency" or given for another cost, or the
        network has no units to prune.

    References:
      Molchanov et al. 2019 (arXiv:1906.10771) for pruning across layers; the docs page `front`.
    """
    _check(curve)
    relative, last = cost_schedule(curve, total_steps)
    stop = max(last, 1)
    own = with_costs(groups, costs)
    if not own.groups:
        raise UserError("method.name", "development_cost", "a network with units to prune")
    least = fewest_units(costs.sizes, floor, round_to)
    relative_cost = relative_costs(costs, cost, _read_table(table, cost))
    _check_floor(curve, floor, round_to, least, relative_cost)
    transform = cost_budget(
        relative_cost,
        relative,
        least=least,
        round_to=round_to,
        every_steps=every,
        stop=stop + every,
    )
    on_outgoing = by_gain(transform, own, decay, batch_size, every, window)
    rate = rate_until(stop, min(window / every, 1.0))
    forecast = Forecast(dense_gradient=rate, adaptive=True)  # weights per cost are unknown before
    return unit_method(
        on_outgoing,
        own,
        params,
        forecast,
        hooks=Hooks(capacity=_capacity(relative, every, spare)),
    )


def _check(curve: Curve) -> None:
    pairs = all(isinstance(point, tuple) and len(point) == 2 for point in curve)
    times = [point[0] for point in curve] if pairs else []
    if not times or times[0] != 0 or times != sorted(times):
        allowed = "pairs (fraction of the run, cost) that start at 0 and whose times do not fall"
        raise UserError("method.curve", curve, allowed)
    if any(level <= 0 for _, level in curve):
        raise UserError("method.curve", curve, "costs above 0, as fractions of the whole network's")


def _check_floor(
    curve: Curve, floor: float, round_to: int, least: Mapping[str, int], relative_cost: Costs
) -> None:
    sizes = relative_cost.sizes
    masks: Any = {name: np.arange(sizes[name]) < count for name, count in least.items()}
    fewest, lowest = float(relative_cost.total(masks)), min(level for _, level in curve)
    if fewest > lowest:
        allowed = (
            f"a lower fraction, or costs of at least {math.ceil(1e4 * fewest) / 1e4:g}, that of"
            " the fewest units;"
            f" not {lowest:g}"
        )
        if round_to > 1:
            raise UserError("method.round_to", round_to, allowed.replace("fraction", "number"))
        raise UserError("method.floor", floor, allowed)


def _read_table(path: str, cost: str) -> LatencyTable | None:
    if bool(path) != (cost == "latency"):
        allowed = "a JSON file of units.measure_layers, for cost latency alone"
        raise UserError("method.table", path, allowed)
    return read_json(pathlib.Path(path), "method.table", "measured layers") if path else None


def with_costs(groups: UnitGroups, costs: CostModel) -> UnitGroups:
    """Restricts groups to the parameters and to those with a cost."""
    own = groups_in_params(groups).groups
    return UnitGroups(tuple(g for g in own if g.name in costs.sizes), ())


def cost_schedule(curve: Curve, total_steps: int) -> tuple[schedule.Schedule, int]:
    """Returns the cost relative to the whole network's as a schedule, and its last step."""
    points = [(round(at * total_steps), level) for at, level in curve]
    return schedule.log_linear(points), points[-1][0]


def _capacity(
    relative: schedule.Schedule, every: int, spare: float
) -> Callable[[int, int, Mapping[str, int]], dict[str, int]]:
    """Makes `Hooks.capacity`: active units, the expected growth by the curve, and spare units."""

    def capacity(step: int, ahead: int, active: Mapping[str, int]) -> dict[str, int]:
        soon = relative(jnp.arange(step, step + ahead + 2 * every, max(every // 4, 1)))
        rise = max(float(jnp.max(soon)) / float(relative(jnp.int32(step))), 1.0)
        return {name: int(np.ceil(n * rise * (1 + spare))) for name, n in active.items()}

    return capacity
