"""Sparse variational dropout (sparse VD)."""

from typing import Annotated

import jax.numpy as jnp

from gpnas._settings import Count, Fraction, NonNegative
from gpnas.gates import gaussian, masks_from_gates
from gpnas.masks import schedule
from gpnas.methods._method import Forecast, Method, gated
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
    """Learns the noise variance of each weight and prunes weights of low signal-to-noise ratio.

    The loss is CE + r(t) · ΣKL(log α) / N, with log α = log σ² − log θ². The density depends only
    on the data.

    Args:
      total_steps: Length of the run.
      images: N, number of training examples.
      threshold: log α at and above which a weight is pruned.
      log_variance: Initial value of log σ².
      weight: Final value of r; 1 in the paper, the variational bound.
      start_at, full_at: Start and end of the increase of r from 0, as fractions of the run.
      stop_at: Time at which r returns to 0, as a fraction of the run, after which the remaining
        weights are trained on CE only; 1 (never) in the paper.
      every: Steps between mask updates.
      remove: Whether pruned weights stay pruned, unlike in the paper; else they may become active
        again.

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
    forecast = Forecast(relative_step_cost=2.0, adaptive=True)
    return Method(transform, forecast, gates=gates)
