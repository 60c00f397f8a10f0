"""Counts of grown, pruned and active weights, changed at mask updates only."""

from typing import Any

import flax
import jax
import jax.numpy as jnp

from gpnas.masks import masked_leaves, summary


@flax.struct.dataclass
class Counters:
    """Counts since the start of the run, by path of each masked leaf.

    Attributes:
      grown, pruned: `{path: () int32}`, weights grown and pruned, exact modulo 2³².
      active_steps: `{path: () float32}`, active-weight count, summed over the steps before `since`.
      rounding: `{path: () float32}`, rounding errors of these sums, which have too few digits for
        a long run.
      since: () int32, step of the last mask update.
    """

    grown: dict[str, jax.Array]
    pruned: dict[str, jax.Array]
    active_steps: dict[str, jax.Array]
    rounding: dict[str, jax.Array]
    since: jax.Array


def zero_counters(masks: Any) -> Counters:
    """Returns the counts before the first step."""
    paths = list(masked_leaves(masks))
    return Counters(
        grown={p: jnp.int32(0) for p in paths},
        pruned={p: jnp.int32(0) for p in paths},
        active_steps={p: jnp.float32(0) for p in paths},
        rounding={p: jnp.float32(0) for p in paths},
        since=jnp.int32(0),
    )


def count_changes(counters: Counters, old: Any, new: Any, step: jax.Array) -> Counters:
    """Returns the counts after a mask update at `step` from `old` to `new`."""
    grown, pruned = summary.changes(old, new)
    sums, rounding = active_steps(counters, old, step)
    return Counters(
        grown={p: n + grown[p] for p, n in counters.grown.items()},
        pruned={p: n + pruned[p] for p, n in counters.pruned.items()},
        active_steps=sums,
        rounding=rounding,
        since=step,
    )


def active_steps(
    counters: Counters, masks: Any, step: jax.Array
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Returns the active weights of each leaf, summed over the steps before `step`.

    Two dicts of () float32: the sums, and their rounding errors (Knuth's TwoSum), which are to be
    added in float64.
    """
    active = summary.active_counts(masks)
    steps = (step - counters.since).astype(jnp.float32)
    sums, rounding = {}, {}
    for path, old in counters.active_steps.items():
        x = steps * active[path].astype(jnp.float32)
        sums[path] = old + x
        added = sums[path] - old
        error = (old - (sums[path] - added)) + (x - added)
        rounding[path] = counters.rounding[path] + error
    return sums, rounding
