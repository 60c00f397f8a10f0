"""Sparse variational dropout (sparse VD)."""

from typing import Annotated

import jax.numpy as jnp

from gpnas.gates import gaussian, masks_from_gates
from gpnas.masks import schedule
from gpnas.methods._method import Forecast, Method, gated
from gpnas.methods._settings import Count, Fraction, NonNegative
from gpnas.plugins import In


def sparse_vd(
    *,
    total_steps: int,
    images: int,
    threshold: Annotated[float, In(-8, 8, open="both")] = 3.0,
    log_variance: float = -10.0,
    weight: NonNegative = 1.0,
    start_at: Fraction = 0.025,
    full_at: Fraction = 0.1,
    stop_at: Fraction = 1.0,
    every: Count,
    remove: bool = True,
) -> Method:
    """Learns how noisy each weight may be, and removes those that are nothing but noise.

    The loss is CE + r(t) · ΣKL(log α) / N, with log α = log σ² − log θ²; how sparse the network
    gets follows from the data alone.

    Args:
      total_steps: Length of the run.
      images: N, how many there are to train on.
      threshold: log α at and above which a weight is removed.
      log_variance: First value of log σ².
      weight: Last value of r; 1 is the paper's, the variational bound.
      start_at, full_at: When r begins to rise from 0 and when it is there, as fractions of the run.
      stop_at: When r falls back to 0, so that what is left is trained on its error alone, as a
        fraction of the run; 1, never, is the paper's.
      every: Steps between events.
      remove: Whether what is removed is gone for good; else it may return until the end.

    References:
      Molchanov, Ashukha & Vetrov 2017 (arXiv:1701.05369), equations 9 and 14, section 4.3.
    """
    start, full = round(start_at * total_steps), round(full_at * total_steps)
    rise = schedule.linear(0.0, weight, start, full)
    counts = schedule.within(0, round(stop_at * total_steps))
    gates = gaussian.variational(
        lambda step: jnp.where(counts(step), rise(step), 0.0), images, log_variance, masked=remove
    )
    transform = masks_from_gates(
        gaussian.low_noise(threshold), every=every, last=total_steps - 1, forever=remove
    )
    if not remove:
        return gated(transform, gates, relative_step_cost=2.0)
    forecast = Forecast(schedule.constant(1.0), relative_step_cost=2.0, adaptive=True)
    return Method(transform, forecast, gates=gates)
