"""Counters of active, grown and pruned weights."""

import jax
import jax.numpy as jnp

from gpnas.train._counters import count_changes, zero_counters


def test_active_weights_of_a_long_run_are_counted_exactly():
    """A million mask updates: a float32 alone is off by 0.5 %, and its last digits by more."""
    masks, active, steps = {"w": jnp.arange(10_000) < 4858}, 4858, 1_000_000

    def update(i, counters):
        return count_changes(counters, masks, masks, i + 1)

    counters = jax.jit(lambda: jax.lax.fori_loop(0, steps, update, zero_counters(masks)))()
    assert float(counters.active_steps["w"]) + float(counters.rounding["w"]) == active * steps
