"""Budgets: numbers of weights that are grown and pruned in a group at one mask update.

`track_density` meets a target density exactly: with Δ = target − active and
`R = max(|Δ|, ρ · active)`, grown = (R + Δ)/2 and pruned = (R − Δ)/2. `dual_price` prunes
weights whose score is below a price λ, and grows weights whose score is above λ(1 + h); λ rises
while the density is above its target, and falls while it is below.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks.schedule import Schedule


class Candidates(NamedTuple):
    """Weights of one group at a mask update; arrays are traced.

    Attributes:
      step: () int32.
      size: Number of weights in the group.
      active, target: () int32, active weights now, and after the update.
      prunable, growable: () int32, weights that may be pruned or grown outside `protect` and
        `rest`; without `rest`, prunable weights are growable, too.
      n_below: `λ → () int32`, prunable weights whose score is below λ.
      n_above: `λ → () int32`, growable weights whose score is above λ.
    """

    step: jax.Array
    size: int
    active: jax.Array
    target: jax.Array
    prunable: jax.Array
    growable: jax.Array
    n_below: Callable[[jax.Array], jax.Array]
    n_above: Callable[[jax.Array], jax.Array]


class Counts(NamedTuple):
    """Numbers of weights to grow and to prune, () int32, and the new price, () float32."""

    grow: jax.Array
    prune: jax.Array
    price: jax.Array


#: `(candidates, price) → counts`.
Budget = Callable[[Candidates, jax.Array], Counts]


def track_density(churn: Schedule, on_top: bool = False) -> Budget:
    """A budget that meets the target exactly at every mask update.

    `protect` and `rest` limit only the exchange: weights that must be pruned or grown to meet the
    target always are.

    Args:
      churn: ρ(step), exchanged fraction of the active weights, half of it grown, half pruned.
      on_top: Whether the exchange adds to the change of density, as in GraNet:
        `R = |Δ| + ρ · min(active, target)`.
    """

    def budget(group: Candidates, price: jax.Array) -> Counts:
        delta = group.target - group.active
        exchanged = jnp.minimum(group.active, group.target) if on_top else group.active
        wanted = jnp.round(churn(group.step) * exchanged.astype(jnp.float32)).astype(jnp.int32)
        swaps = jnp.maximum(wanted if on_top else wanted - jnp.abs(delta), 0) // 2
        must_grow, must_prune = jnp.maximum(delta, 0), jnp.maximum(-delta, 0)
        spare = jnp.minimum(group.growable - must_grow, group.prunable - must_prune)
        swaps = jnp.clip(swaps, 0, jnp.maximum(spare, 0))
        return Counts(must_grow + swaps, must_prune + swaps, price)

    return budget


def dual_price(
    rate: float, hysteresis: float = 0.1, most: float = 0.3, stop: int | None = None
) -> Budget:
    """A budget by a dual variable, the price: λ ← [λ + rate · (density − target density)]₊.

    This is greedy descent on L + λ·Σ cost·mask, the objective of L0 regularisation and of neural
    plasticity networks; the price keeps the density near its target. From `stop` on, the target is
    met exactly, as by `track_density` without churn.

    Args:
      rate: η, in units of the score (change of loss per unit of cost).
      hysteresis: h ≥ 0; weights are grown where their score is above λ(1 + h).
      most: Largest fraction of the active weights that one update may prune, and may grow.
      stop: First step at which the target is met exactly.
    """
    exact = track_density(lambda step: jnp.float32(0))

    def budget(group: Candidates, price: jax.Array) -> Counts:
        gap = (group.active - group.target) / max(group.size, 1)
        price = jnp.maximum(price + rate * gap, 0).astype(jnp.float32)
        limit = jnp.ceil(most * group.active.astype(jnp.float32)).astype(jnp.int32)
        free = Counts(
            jnp.minimum(group.n_above(price * (1 + hysteresis)), limit),
            jnp.minimum(group.n_below(price), limit),
            price,
        )
        if stop is None:
            return free
        met = exact(group, price)
        return jax.tree.map(lambda a, b: jnp.where(group.step >= stop, a, b), met, free)

    return budget
