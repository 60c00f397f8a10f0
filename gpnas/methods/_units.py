"""What the methods that mask units share."""

from typing import Any

from gpnas.masks import MaskTransform
from gpnas.methods._method import Forecast, Hooks, Method
from gpnas.units import UnitGroups, outgoing_masks, weight_masks


def unit_method(
    transform: MaskTransform,
    groups: UnitGroups,
    params: Any,
    forecast: Forecast,
    hooks: Hooks = Hooks(),  # noqa: B008
) -> Method:
    """A method whose inactive units keep incoming weights, untrained, and have no outgoing ones.

    Args:
      transform: By `units.on_units`.
      groups: The units that it masks.
      params: Parameters of the network, or their shapes.
      forecast, hooks: As for `Method`.
    """
    return Method(
        transform,
        forecast,
        update_mask=lambda masks, state: weight_masks(groups, state.units, params),
        zero_mask=lambda masks, state: outgoing_masks(groups, state.units, params),
        mask_forward=False,  # nothing reads an inactive unit: its outgoing weights are zero
        hooks=hooks,
    )
