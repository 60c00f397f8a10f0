"""Common parts of the methods that mask units."""

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
    """Makes a transform on units that prunes by removal cost and grows by growth gain.

    Args:
      transform: Transform of unit masks; receives the units' scores as params and grads.
      groups: The units.
      decay: Decay of the moving averages of the gradient and its square.
      batch_size: Examples per step, for the empirical Fisher.
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
    """Makes a method whose inactive units keep frozen incoming weights and zero outgoing ones.

    Args:
      transform: Transform from `units.on_units`.
      groups: The units that it masks.
      params: Parameters of the network, or their shapes.
      forecast, hooks: As for `Method`.
    """
    return Method(
        transform,
        forecast,
        update_mask=lambda masks, state: weight_masks(groups, state.units, params),
        zero_mask=lambda masks, state: outgoing_masks(groups, state.units, params),
        mask_forward=False,  # inactive units have no effect: their outgoing weights are zero
        hooks=hooks,
    )
