"""The survey: exact counts of what grew, was pruned and lived, touched at events only."""

from typing import Any

import flax
import jax
import jax.numpy as jnp

from gpnas.masks import masked_leaves, summary


@flax.struct.dataclass
class Survey:
    """Counts since the start of the run, by path of each maskable leaf.

    Attributes:
      woken, dropped: `{path: () int32}`, weights grown and pruned.
      lived: `{path: () float32}`, living weights summed over the steps before `since`.
      since: () int32, step of the last event.
    """

    woken: dict[str, jax.Array]
    dropped: dict[str, jax.Array]
    lived: dict[str, jax.Array]
    since: jax.Array


def begin(masks: Any) -> Survey:
    """The survey of a run that has not begun."""
    paths = list(masked_leaves(masks))
    return Survey(
        woken={p: jnp.int32(0) for p in paths},
        dropped={p: jnp.int32(0) for p in paths},
        lived={p: jnp.float32(0) for p in paths},
        since=jnp.int32(0),
    )


def observe(survey: Survey, old: Any, new: Any, step: jax.Array) -> Survey:
    """The survey after an event at `step` that turned the masks `old` into `new`."""
    woken, dropped = summary.changes(old, new)
    return Survey(
        woken={p: n + woken[p] for p, n in survey.woken.items()},
        dropped={p: n + dropped[p] for p, n in survey.dropped.items()},
        lived=lived(survey, old, step),
        since=step,
    )


def lived(survey: Survey, masks: Any, step: jax.Array) -> dict[str, jax.Array]:
    """`{path: () float32}`, living weights of each leaf summed over all the steps before `step`."""
    alive = summary.active_counts(masks)
    steps = (step - survey.since).astype(jnp.float32)
    return {p: n + steps * alive[p].astype(jnp.float32) for p, n in survey.lived.items()}
