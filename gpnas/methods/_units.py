"""What the methods that mask units share."""

from typing import Any

from gpnas.masks import MaskTransform
from gpnas.methods._method import Forecast, Hooks, Method
from gpnas.units import UnitGroups, on_units, outgoing_masks, score, weight_masks


def by_gain(
    transform: MaskTransform,
    groups: UnitGroups,
    decay: float,
    batch_size: int,
    every: int,
    window: int,
) -> MaskTransform:
    """A transform on units that are pruned by removal cost and grown by growth gain.

    Args:
      transform: Of masks of units; gets their scores as params and grads.
      groups: The units.
      decay: Decay of the moving averages of the gradient and its square.
      batch_size: Images per step, for the empirical Fisher.
      every, window: As for `units.on_units`.
    """
    drop = score.removal_cost(groups, decay, batch_size)
    grow = score.growth_gain(groups, decay, batch_size)
    return on_units(transform, groups, drop, grow, every=every, window=window)


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
