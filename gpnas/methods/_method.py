"""The components of a method."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gpnas.errors import UserError
from gpnas.gates import Gates, no_gates
from gpnas.masks import (
    GrowInit,
    MaskTransform,
    allocate,
    grow_at_zero,
    plasticity,
    schedule,
    score,
    when,
)

#: `(masks, mask state) → masks`.
MaskFn = Callable[[Any, Any], Any]


def all_ones(masks: Any, state: Any) -> Any:
    """Returns masks that are True everywhere, as a `MaskFn`."""
    del state
    return jax.tree.map(jnp.ones_like, masks)


class EvalContext(NamedTuple):
    """Arguments of `Hooks.on_eval` after an evaluation, on the host.

    Attributes:
      loss: Validation loss of the current network, the task's.
      loss_of: `params → validation loss` of the same network with other parameters.
      init_opt_state: `params → optimizer state` as before the first step.
    """

    loss: float
    loss_of: Callable[[Any], float]
    init_opt_state: Callable[[Any], Any]


class Forecast(NamedTuple):
    """Expected cost of a method, for the forecast before a run; actual costs are counted.

    Attributes:
      density: Expected density at a step; 1 if it is not known in advance.
      dense_gradient: Expected fraction of steps that need a dense weight gradient, at a step.
      relative_step_cost: MACs of a step relative to those of one forward and backward pass.
      adaptive: Whether the density depends on the data; `density` is then an upper bound.
      allocation: Splits the density over leaves, which may differ in MACs per weight. None: leaves
        are expected to have equal densities.
    """

    density: schedule.Schedule = schedule.constant(1.0)
    dense_gradient: schedule.Schedule = schedule.constant(0.0)
    relative_step_cost: float = 1.0
    adaptive: bool = False
    allocation: allocate.Allocation | None = None


class Hooks(NamedTuple):
    """Functions of a method that run on the host, between compiled steps.

    Attributes:
      on_eval: `(train state, EvalContext) → train state`, called after each evaluation on the
        validation examples. It returns the same object if nothing changes. None: not called.
      capacity: `(step, ahead, {group: active units}) → {group: units}`, the units per group for
        which arrays are needed in the next `ahead` steps. None: the method does not resize the
        network.
    """

    on_eval: Callable[[Any, EvalContext], Any] | None = None
    capacity: Callable[[int, int, Mapping[str, int]], dict[str, int]] | None = None


class Method(NamedTuple):
    """A mask transform, and how a train step uses its masks.

    By default, inactive weights are zero, so the forward pass needs no masks. If they keep a value
    (`zero_mask`), the forward pass masks them, unless `mask_forward` is False.

    Attributes:
      transform: Computes which weights are active.
      forecast: Expected cost.
      update_mask: `(masks, mask state) → masks` of the weights updated by the optimizer. None: the
        masks themselves.
      zero_mask: `(masks, mask state) → masks`; weights where it is False are set to zero after each
        step. None: the masks themselves.
      mask_forward: Whether the forward pass uses masked weights if `zero_mask` is given. No effect
        if `zero_mask` is None or `gates.masked` is False.
      grow_init: Initial value of a grown weight.
      wrap: Wraps the user's optimizer, unless None. The wrapped `update` receives `masks`,
        `dense_grads` and `forward` (see `gpnas.gates.Forward`) as extra arguments.
      gates: Changes of the forward pass, with their own parameters.
      trainings: Number of trainings in a run. Each has its own learning-rate schedule, if
        `hooks.on_eval` starts it with a fresh optimizer state.
      hooks: Functions on the host.
    """

    transform: MaskTransform
    forecast: Forecast
    update_mask: MaskFn | None = None
    zero_mask: MaskFn | None = None
    mask_forward: bool = True
    grow_init: GrowInit = grow_at_zero
    wrap: Callable[[optax.GradientTransformation], optax.GradientTransformation] | None = None
    gates: Gates = no_gates()
    trainings: int = 1
    hooks: Hooks = Hooks()

    def optimizer(self, tx: optax.GradientTransformation) -> optax.GradientTransformation:
        """The optimizer of a train step: the user's, wrapped by `wrap` if given."""
        return tx if self.wrap is None else self.wrap(tx)

    def updated(self, masks: Any, state: Any) -> Any:
        """Returns masks of the weights updated by the optimizer: `update_mask`, or the masks."""
        return masks if self.update_mask is None else self.update_mask(masks, state)

    def nonzero(self, masks: Any, state: Any) -> Any:
        """Returns masks of the weights that may be nonzero: `zero_mask`, or the masks."""
        return masks if self.zero_mask is None else self.zero_mask(masks, state)


def gated(transform: MaskTransform, gates: Gates, relative_step_cost: float = 1.0) -> Method:
    """Makes a method whose masks follow gates: all weights are updated and keep their values.

    Args:
      transform: Masks that follow the gates.
      gates: Gates, with `Gates.masked` for the masks in the forward pass.
      relative_step_cost: As for `Forecast`.
    """
    forecast = Forecast(relative_step_cost=relative_step_cost, adaptive=True)
    return Method(transform, forecast, update_mask=all_ones, zero_mask=all_ones, gates=gates)


def mask_transform(method: Method) -> MaskTransform:
    """Returns the transform of a method that needs nothing else, for `gpnas.masks.sparsify`.

    `grow_init` is an argument of `sparsify`.

    Raises:
      UserError: If the method needs gates, its own optimizer, hooks on the host, or inactive
        weights that keep a value.
    """
    has = {
        "update_mask": method.update_mask is not None,
        "zero_mask": method.zero_mask is not None,
        "wrap": method.wrap is not None,
        "gates": method.gates.reads_network,
        "trainings": method.trainings > 1,
        "hooks": method.hooks.on_eval is not None or method.hooks.capacity is not None,
    }
    needed = [name for name, given in has.items() if given]
    if needed:
        raise UserError(
            "mask_transform",
            f"a method with {', '.join(needed)}",
            "a method that changes masks only; the others need `gpnas.train.make_step`",
        )
    return method.transform


def step_at(fraction: float, total_steps: int, every: int = 1) -> int:
    """Returns the last multiple of `every` up to a fraction of the run, at most the last step."""
    return min(round(fraction * total_steps), total_steps - 1) // every * every


def rate_until(stop: int, rate: float) -> schedule.Schedule:
    """Schedule of `rate` before step `stop` and zero from then on."""

    def value(step: jax.Array) -> jax.Array:
        return jnp.where(step < stop, jnp.float32(rate), 0.0)

    return value


def forecast_developmental(
    curve: schedule.Schedule,
    stop: int,
    every: int,
    window: int,
    allocation: allocate.Allocation | None = None,
) -> Forecast:
    """Makes the forecast for updates that look ahead to the next one, with dense-gradient scores.

    Args:
      curve: Density at a step.
      stop: Step from which no dense gradient is used.
      every: Steps between mask updates; the density at a step is the curve's at the next update.
      window: Steps before each mask update that need a dense gradient.
      allocation: Splits the density over leaves; see `Forecast`.
    """
    held = schedule.at_mask_updates(curve, every, lookahead=every)
    return Forecast(held, rate_until(stop, min(window / every, 1.0)), allocation=allocation)


def magnitude_at_jumps(curve: schedule.Schedule, allocation: allocate.Allocation) -> Method:
    """Prunes by magnitude at the steps where a density curve jumps; no other mask updates.

    Args:
      curve: Piecewise constant; where it rises, random weights are grown, at zero.
      allocation: Splits the density over leaves.
    """
    transform = plasticity(
        drop=score.magnitude(),
        grow=score.random(),
        density=curve,
        allocation=allocation,
        every=1,
        seed_score=score.magnitude(),
    )
    at_jumps = when(transform, lambda step: curve(step) != curve(step - 1))
    return Method(at_jumps, Forecast(curve, allocation=allocation))
