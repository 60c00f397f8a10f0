"""What a method of the literature consists of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gpnas.gates import Gates, no_gates
from gpnas.masks import MaskTransform, at_zero, plasticity, score, when
from gpnas.masks.allocate import Allocation
from gpnas.masks.schedule import Schedule, constant
from gpnas.masks.transition import Wake


def the_living(masks: Any, state: Any) -> Any:
    """The masks themselves."""
    del state
    return masks


def _unchanged(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """The user's optimizer as it is."""
    return tx


UNGATED = no_gates()


def everything(masks: Any, state: Any) -> Any:
    """Masks that are all True: every weight, dormant or not."""
    del state
    return jax.tree.map(jnp.ones_like, masks)


class Look(NamedTuple):
    """What a method may know when it reviews a network between epochs, on the host.

    Attributes:
      loss: Validation loss of the network as it is, in nats.
      loss_of: `params → loss` of the same network with other parameters.
      fresh: `params → optimizer state` as before the first step.
    """

    loss: float
    loss_of: Callable[[Any], float]
    fresh: Callable[[Any], Any]


class Method(NamedTuple):
    """A method, ready for a train step.

    Attributes:
      transform: Decides which weights live.
      density: Expected density at a step, for the cost before the run.
      dense_gradient: Expected fraction of steps that need a dense weight gradient, likewise.
      passes: MACs of a step over those of one forward and backward pass.
      wake: First value of a woken weight.
      learns: `(masks, mask state) → masks` of the weights that the optimizer may move.
      held: `(masks, mask state) → masks`: what is False here is exactly zero. `the_living`, unless
        dormant weights keep (and may learn) a value: all of them, as in Top-KAST and STE, if it is
        `everything`; some of them, as the incoming weights of dormant units.
      wrap: Puts something of the method's own around the user's optimizer. It gets `masks`,
        `dense_grads` and `forward` (see `gpnas.gates.Forward`) as extra arguments.
      review: `(train state, look) → train state` after each look at the validation images; on the
        host, for decisions that need them. None: there is nothing to decide.
      room: `(step, ahead) → {group: units}`: what a method that develops units needs arrays for in
        the next `ahead` steps; None where it develops none.
      trainings: How many trainings the run consists of; each has a learning-rate schedule of its
        own, if `review` begins it with a fresh optimizer state.
      adaptive: Whether the data decide the density; `density` is then its upper bound.
      gates: What it does to the forward pass. Where everything is held, that runs on the masked
        weights unless the gates say otherwise.
    """

    transform: MaskTransform
    density: Schedule
    dense_gradient: Schedule = constant(0.0)
    passes: float = 1.0
    wake: Wake = at_zero
    learns: Callable[[Any, Any], Any] = the_living
    held: Callable[[Any, Any], Any] = the_living
    wrap: Callable[[optax.GradientTransformation], optax.GradientTransformation] = _unchanged
    gates: Gates = UNGATED
    review: Callable[[Any, Look], Any] | None = None
    room: Callable[[int, int], dict[str, int]] | None = None
    trainings: int = 1
    adaptive: bool = False


def gated(transform: MaskTransform, gates: Gates, passes: float = 1.0) -> Method:
    """A method whose gates decide: all weights learn, and masks tell which gates are open.

    Args:
      transform: Masks that follow the gates.
      gates: That run the forward pass, unmasked.
      passes: As for `Method`.
    """
    return Method(
        transform, constant(1.0), passes=passes, learns=everything, held=everything, gates=gates,
        adaptive=True,
    )  # fmt: skip


def moment(at: float, total_steps: int, every: int = 1) -> int:
    """The last multiple of `every` up to a fraction of the run, and a step of the run."""
    return min(round(at * total_steps), total_steps - 1) // every * every


def before(stop: int, rate: float) -> Schedule:
    """A rate that holds before step `stop` and is zero from there on."""

    def schedule(step: jax.Array) -> jax.Array:
        return jnp.where(step < stop, jnp.float32(rate), 0.0)

    return schedule


def by_magnitude_at_jumps(curve: Schedule, allocation: Allocation) -> Method:
    """Keeps the largest weights where a density curve jumps, and does nothing at other steps.

    Args:
      curve: Piecewise constant; where it rises, weights return at random, from zero.
      allocation: How the density is spread over the leaves.
    """
    transform = plasticity(
        drop=score.magnitude(),
        grow=score.random(),
        density=curve,
        allocation=allocation,
        every=1,
        seed_score=score.magnitude(),
    )
    return Method(when(transform, lambda step: curve(step) != curve(step - 1)), curve)
