"""Static sparse training of units: units not used by the initial weights stay inactive."""

from typing import Any

from gpnas.masks import MaskTransform, schedule
from gpnas.methods._method import Forecast, Method
from gpnas.methods._units import unit_method
from gpnas.units import UnitGroups, groups_in_params, is_block, on_units
from gpnas.units import score as unit_score


def static_units(*, groups: UnitGroups, params: Any) -> Method:
    """Keeps units inactive whose outgoing weights are all zero at the start.

    This continues training a network pruned by a method on units, in the arrays of the whole
    network. All blocks stay active.

    Args:
      groups: Unit groups of the network.
      params: Its parameters, or their shapes.
    """
    found = groups_in_params(groups).groups
    own = UnitGroups(tuple(g for g in found if not is_block(g.name)), ())
    as_given = MaskTransform(
        lambda masks, magnitudes, key: ({n: x > 0 for n, x in magnitudes.items()}, ()),
        lambda masks, state, ctx: (masks, state),
        schedule.never,
        schedule.never,
    )
    unused = unit_score.random(own)
    return unit_method(
        on_units(as_given, own, unused, unused),
        own,
        params,
        Forecast(adaptive=True),  # the active units are not known in advance
    )
