"""Budgets: numbers of weights to grow and prune in a group at one mask update.

`track_density` meets a target density exactly: with Δ = target − active and
`R = max(|Δ|, ρ · active)`, grown = (R + Δ)/2 and pruned = (R − Δ)/2.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks.schedule import Schedule


class Candidates(NamedTuple):
    """Weights of one group at a mask update, () int32, traced.

    Attributes:
      step: Step of the update.
      active, target: Active weights now, and after the update.
      growable: Weights that may be grown: inactive ones and, with `regrow`, those pruned in the
        same update.
    """

    step: jax.Array
    active: jax.Array
    target: jax.Array
    growable: jax.Array


class Counts(NamedTuple):
    """Numbers of weights to grow and to prune, () int32."""

    grow: jax.Array
    prune: jax.Array


#: `candidates → counts`; may be traced.
Budget = Callable[[Candidates], Counts]


def track_density(churn: Schedule, on_top: bool = False) -> Budget:
    """Returns a budget that meets the target exactly, by (R + Δ)/2 grown, (R − Δ)/2 pruned weights.

    Args:
      churn: ρ(step), exchanged fraction of the active weights: half of them are grown, half pruned.
      on_top: Whether the exchange adds to the change of density, as in GraNet:
        `R = |Δ| + ρ · min(active, target)`.
    """

    def budget(group: Candidates) -> Counts:
        delta = group.target - group.active
        exchanged = jnp.minimum(group.active, group.target) if on_top else group.active
        wanted = jnp.round(churn(group.step) * exchanged.astype(jnp.float32)).astype(jnp.int32)
        swaps = jnp.maximum(wanted if on_top else wanted - jnp.abs(delta), 0) // 2
        must_grow, must_prune = jnp.maximum(delta, 0), jnp.maximum(-delta, 0)
        spare = jnp.minimum(group.growable - must_grow, group.active - must_prune)
        swaps = jnp.clip(swaps, 0, jnp.maximum(spare, 0))
        return Counts(must_grow + swaps, must_prune + swaps)

    return budget
