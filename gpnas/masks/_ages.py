"""Steps since a weight was last grown or pruned, and grown weights that reached an age."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks.tree import Leaves

LONG_AGO = -(2**30)  # step of the last change of a weight that never changed


class Ages(NamedTuple):
    """Settings in steps since a weight was last grown or pruned; as arguments of `plasticity`."""

    protect: int
    rest: int
    survival_age: int | None
    every: int

    def tracked(self) -> bool:
        """Whether a mask update depends on ages."""
        return bool(self.protect or self.rest or self.survival_age is not None)


class AgeState(NamedTuple):
    """The fields `changed`, `survived` and `died` of a `PlasticityState`."""

    changed: Leaves
    survived: dict[str, jax.Array]
    died: dict[str, jax.Array]


def init_ages(ages: Ages, weights: Leaves) -> AgeState:
    """No weight has changed yet; empty where no setting needs it."""
    tracked = weights if ages.tracked() else {}
    counted = weights if ages.survival_age is not None else {}
    return AgeState(
        changed={p: jnp.full(w.shape, LONG_AGO, jnp.int32) for p, w in tracked.items()},
        survived={p: jnp.float32(0) for p in counted},
        died={p: jnp.float32(0) for p in counted},
    )


def at_age(marked: Leaves, age: Leaves, least: int) -> Leaves:
    """The marked weights of at least this age; all where ages are not tracked."""
    return {p: m & (age[p] >= least) for p, m in marked.items()} if age else marked


def track_ages(
    ages: Ages, state: AgeState, before: Leaves, after: Leaves, age: Leaves, step: jax.Array
) -> AgeState:
    """The state with the changes of a mask update, and with survivors and early losses counted."""
    last = state.changed
    changed = {p: jnp.where(before[p] != after[p], step, c) for p, c in last.items()}
    if ages.survival_age is None:
        return state._replace(changed=changed)
    young = {p: before[p] & (c >= 0) & (age[p] <= ages.survival_age) for p, c in last.items()}
    oldest = ages.survival_age - ages.every
    of_age = {p: m & after[p] & (age[p] > oldest) for p, m in young.items()}
    lost = {p: m & ~after[p] for p, m in young.items()}
    return AgeState(
        changed,
        survived={p: n + jnp.sum(of_age[p], dtype=n.dtype) for p, n in state.survived.items()},
        died={p: n + jnp.sum(lost[p], dtype=n.dtype) for p, n in state.died.items()},
    )
