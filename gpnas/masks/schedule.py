"""Schedules: densities and churn rates as functions of a traced step.

Any function `step → value` is a schedule, including those of optax. This module has the schedules
of published methods. Density is the fraction of active weights; churn is the fraction of the active
weights that is exchanged (grown plus pruned) at one mask update.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

#: `step → value`; both are traced arrays, () int32 and () float32 or bool.
Schedule = Callable[[jax.Array], jax.Array]
# Steps at which densities are checked: all up to 128, then 64 per octave, up to 2³⁰.
_CHECKED = np.unique([n << i for i in range(24) for n in range(129)]).astype(np.int32)


def _progress(step: jax.Array, start: float, stop: float) -> jax.Array:
    """Returns the progress of `step` from `start` to `stop`, in [0, 1]; 1 from `stop` on."""
    step = jnp.asarray(step, jnp.float32)
    return jnp.where(step >= stop, 1.0, jnp.clip((step - start) / max(stop - start, 1), 0.0, 1.0))


def constant(value: float) -> Schedule:
    """Returns the same value at every step."""
    return lambda step: jnp.full(jnp.shape(step), value, jnp.float32)


def linear(first: float, last: float, start: int, stop: int) -> Schedule:
    """Interpolates linearly from `first` until step `start` to `last` from step `stop` on.

    Args:
      first, last: Values before `start` and from `stop` on.
      start, stop: Steps between which the value changes.
    """
    return lambda step: first + (last - first) * _progress(step, start, stop)


def cubic(first: float, last: float, start: int, stop: int) -> Schedule:
    """Cubic decay, fast at first: `last + (first − last)(1 − x)³`, with x from 0 to 1.

    Args:
      first, last: Values before `start` and from `stop` on.
      start, stop: Steps where x is 0 and 1.

    References:
      Zhu & Gupta 2017, To prune, or not to prune (arXiv:1710.01878), equation 1, for densities.
    """
    return lambda step: last + (first - last) * (1 - _progress(step, start, stop)) ** 3


def cosine(first: float, stop: int, last: float = 0.0) -> Schedule:
    """Decays by a cosine from `first` at step 0 to `last` from step `stop` on.

    Args:
      first, last: Values at step 0 and from `stop` on.
      stop: Step at which the decay ends.

    References:
      Dettmers & Zettlemoyer 2019 (arXiv:1907.04840); Evci et al. 2020 (arXiv:1911.11134),
      equation 1.
    """
    return lambda step: (
        last + (first - last) * 0.5 * (1 + jnp.cos(jnp.pi * _progress(step, 0, stop)))
    )


def log_linear(points: Sequence[tuple[int, float]]) -> Schedule:
    """Interpolates geometrically between points `(step, value)`; constant before and after them.

    Args:
      points: At least one; steps are non-decreasing, and values are positive. Of two points at one
        step, the first applies at that step, the second after it.

    Raises:
      ValueError: If there are no points, or a value is not positive.
    """
    if not points or not all(0 < value < math.inf for _, value in points):
        raise ValueError(f"log_linear: got {points}, allowed: one or more points, positive values")
    steps = np.array([step for step, _ in points], np.float32)
    values = np.log(np.array([value for _, value in points], np.float32))

    def schedule(step: jax.Array) -> jax.Array:
        return jnp.exp(jnp.interp(jnp.asarray(step, jnp.float32), steps, values))

    return schedule


def developmental(final: float, peak: float, peak_step: int, stop: int) -> Schedule:
    """Overshoots: density rises from its final value to a peak, then falls back to it.

    `d(t) = final · [1 + (peak − 1)·sin²(πt / 2·peak_step)]` up to `peak_step`, then
    `final · [1 + (peak − 1)(1 − x)³]` with x from 0 at the peak to 1 at `stop`, then `final`.

    Args:
      final: Final density, in (0, 1]; also that at step 0, if the peak is later.
      peak: Height of the peak as a multiple of `final`; 1.5 in human cortex.
      peak_step: Step of the peak.
      stop: Step from which the density is `final`; at or after the peak.

    References:
      Huttenlocher 1979, Synaptic density in human frontal cortex.
    """

    def density(step: jax.Array) -> jax.Array:
        rise = jnp.sin(0.5 * jnp.pi * _progress(step, 0, peak_step)) ** 2
        fall = (1 - _progress(step, peak_step, stop)) ** 3
        return final * (1 + (peak - 1) * jnp.where(jnp.asarray(step) <= peak_step, rise, fall))

    return density


def alternating(low: float, start: int, stop: int, dense_steps: int, sparse_steps: int) -> Schedule:
    """1 before `start`, then alternately `low` and 1 until `stop`, then `low`.

    Args:
      low: The value of the sparse phases.
      start, stop: Steps between which the phases alternate; a sparse phase is first.
      dense_steps, sparse_steps: Lengths of the phases.

    Raises:
      ValueError: If both phases together are shorter than one step.

    References:
      Peste et al. 2021, AC/DC (arXiv:2106.12379), algorithm 1.
    """
    check_steps("dense_steps + sparse_steps", dense_steps + sparse_steps)

    def density(step: jax.Array) -> jax.Array:
        step = jnp.asarray(step)
        in_dense = (step - start) % (dense_steps + sparse_steps) >= sparse_steps
        dense = (step < start) | (in_dense & (step < stop))
        return jnp.where(dense, 1.0, low).astype(jnp.float32)

    return density


def at_mask_updates(schedule: Schedule, every: int, lookahead: int = 0) -> Schedule:
    """Returns a schedule that is constant between mask updates: the density that masks have.

    Its value is that of `schedule` at the last mask update plus `lookahead`, before the first one
    that of step 0.

    Args:
      schedule: Target density of mask updates.
      every: Steps between mask updates; the first is at step `every`.
      lookahead: As for `plasticity`.

    Raises:
      ValueError: If `every` is below 1.
    """
    check_steps("every", every)

    def value(step: jax.Array) -> jax.Array:
        last = jnp.asarray(step) // every * every
        return schedule(jnp.where(last > 0, last + lookahead, 0))

    return value


def always(step: jax.Array) -> jax.Array:
    """Returns True at every step."""
    return jnp.ones(jnp.shape(step), bool)


def never(step: jax.Array) -> jax.Array:
    """Returns False at every step."""
    return jnp.zeros(jnp.shape(step), bool)


def within(start: int, stop: int | None) -> Callable[[jax.Array], jax.Array]:
    """Returns `step → () bool`, True at steps `start <= step < stop` (no end if `stop` is None).

    Args:
      start, stop: First step, and the step after the last one.
    """
    return lambda step: (step >= start) & (True if stop is None else step < stop)


def check_steps(field: str, steps: int) -> None:
    """Checks a number of steps.

    Args:
      field: Name of the number, for the message.
      steps: The number.

    Raises:
      ValueError: If it is below 1.
    """
    if steps < 1:
        raise ValueError(f"{field}: got {steps}, allowed: 1 or more steps")


def check_schedule(field: str, schedule: Schedule | float) -> None:
    """Raises `ValueError` for a number instead of a schedule."""
    if not callable(schedule):
        allowed = f"a function of the step, such as schedule.constant({schedule!r})"
        raise ValueError(f"{field}: got {schedule!r}, allowed: {allowed}")


def check_densities(density: Schedule) -> None:
    """Checks that the values of a schedule are in [0, 1], unless they are traced.

    All steps up to 128 are checked, and later ones at distances of less than 1.6 %, up to 2³⁰.

    Args:
      density: The schedule.

    Raises:
      ValueError: If a value is not in [0, 1], or the schedule is a number; the message names the
        first such step.
    """
    check_schedule("density", density)
    with jax.ensure_compile_time_eval():
        values = jax.vmap(density)(jnp.asarray(_CHECKED))
    if isinstance(values, jax.core.Tracer):
        return
    wrong = np.flatnonzero(~((np.asarray(values) >= 0) & (np.asarray(values) <= 1 + 1e-6)))
    if wrong.size:
        value, step = values[wrong[0]], _CHECKED[wrong[0]]
        raise ValueError(f"density: got {value:g} at step {step}, allowed: a number in [0, 1]")
