"""Exact counts of grown, pruned and active weights, changed at mask updates only."""

from typing import Any

import flax
import jax
import jax.numpy as jnp

from gpnas.masks import masked_leaves, summary


@flax.struct.dataclass
class Survey:
    """Counts since the start of the run, by path of each masked leaf.

    Attributes:
      woken, dropped: `{path: () int32}`, weights grown and pruned.
      lived: `{path: () float32}`, active-weight count, summed over the steps before `since`.
      since: () int32, step of the last mask update.
    """

    woken: dict[str, jax.Array]
    dropped: dict[str, jax.Array]
    lived: dict[str, jax.Array]
    since: jax.Array


def begin(masks: Any) -> Survey:
    """Counts of a run that has not begun."""
    paths = list(masked_leaves(masks))
    return Survey(
        woken={p: jnp.int32(0) for p in paths},
        dropped={p: jnp.int32(0) for p in paths},
        lived={p: jnp.float32(0) for p in paths},
        since=jnp.int32(0),
    )


def observe(survey: Survey, old: Any, new: Any, step: jax.Array) -> Survey:
    """Counts after a mask update at `step` from `old` to `new`."""
    woken, dropped = summary.changes(old, new)
    return Survey(
        woken={p: n + woken[p] for p, n in survey.woken.items()},
        dropped={p: n + dropped[p] for p, n in survey.dropped.items()},
        lived=lived(survey, old, step),
        since=step,
    )


def lived(survey: Survey, masks: Any, step: jax.Array) -> dict[str, jax.Array]:
    """Active-weight count per leaf, summed over the steps before `step`: `{path: () float32}`."""
    alive = summary.active_counts(masks)
    steps = (step - survey.since).astype(jnp.float32)
    return {p: n + steps * alive[p].astype(jnp.float32) for p, n in survey.lived.items()}
