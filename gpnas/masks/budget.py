"""Budgets: how many weights of a group are grown and how many are pruned at one event.

By the curve, both counts come from one identity. With Δ = target − living and a churn of
R = max(|Δ|, ρ · living): grown = (R + Δ)/2, pruned = (R − Δ)/2, so growth falls exactly as pruning
rises. By the price, a weight is pruned where its worth is below λ and grown where it is above
λ(1 + h); λ rises while the group is above its target density and falls while it is below.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks.schedule import Schedule


class Offer(NamedTuple):
    """What an event finds in one group. Arrays are traced.

    Attributes:
      step: () int32.
      size, live, target: () int32, all the weights of the group, the living ones, those aimed at.
      prunable, growable: () int32, weights that may be pruned or grown without an exception; what
        this event may prune is growable, too, if it may come back at once.
      cheaper: `λ → () int32`, prunable weights whose worth is below λ.
      dearer: `λ → () int32`, growable weights whose worth is above λ.
    """

    step: jax.Array
    size: int
    live: jax.Array
    target: jax.Array
    prunable: jax.Array
    growable: jax.Array
    cheaper: Callable[[jax.Array], jax.Array]
    dearer: Callable[[jax.Array], jax.Array]


class Counts(NamedTuple):
    """() int32 each, and the group's new price, () float32."""

    grow: jax.Array
    prune: jax.Array
    price: jax.Array


Budget = Callable[[Offer, jax.Array], Counts]


def by_curve(churn: Schedule, on_top: bool = False) -> Budget:
    """Counts from the identity; the target is met exactly at every event.

    Protection and rest are honoured as far as the target allows: what must be pruned or grown to
    meet it always is, only exchanges beyond that are given up.

    Args:
      churn: ρ(step), the fraction of the living that is exchanged: half of it grown, half pruned.
      on_top: Whether the exchange comes on top of what the curve asks, R = |Δ| + ρ · min(living,
        target), as in GraNet, and does not cover it.
    """

    def budget(offer: Offer, price: jax.Array) -> Counts:
        delta = offer.target - offer.live
        exchanged = jnp.minimum(offer.live, offer.target) if on_top else offer.live
        wanted = jnp.round(churn(offer.step) * exchanged.astype(jnp.float32)).astype(jnp.int32)
        swaps = jnp.maximum(wanted if on_top else wanted - jnp.abs(delta), 0) // 2
        must_grow, must_prune = jnp.maximum(delta, 0), jnp.maximum(-delta, 0)
        spare = jnp.minimum(offer.growable - must_grow, offer.prunable - must_prune)
        swaps = jnp.clip(swaps, 0, jnp.maximum(spare, 0))
        return Counts(must_grow + swaps, must_prune + swaps, price)

    return budget


def by_price(
    rate: float, hysteresis: float = 0.1, most: float = 0.3, stop: int | None = None
) -> Budget:
    """Counts from a price of living: λ ← [λ + rate · (density − target density)]₊.

    This is greedy descent on L + λ·Σ cost·mask, the objective of L0 regularisation and of neural
    plasticity networks; the price is what holds the density near the curve. From `stop` on the
    target is met exactly, as `by_curve` without churn would.

    Args:
      rate: η, in units of the worth of a weight (change of loss per unit of cost).
      hysteresis: h ≥ 0, what a dormant weight must be worth above the price.
      most: Largest fraction of the living that one event may prune, and may grow.
      stop: First step at which the target is met exactly.
    """
    exact = by_curve(lambda step: jnp.float32(0))

    def budget(offer: Offer, price: jax.Array) -> Counts:
        gap = (offer.live - offer.target) / max(offer.size, 1)
        price = jnp.maximum(price + rate * gap, 0).astype(jnp.float32)
        limit = jnp.ceil(most * offer.live.astype(jnp.float32)).astype(jnp.int32)
        free = Counts(
            jnp.minimum(offer.dearer(price * (1 + hysteresis)), limit),
            jnp.minimum(offer.cheaper(price), limit),
            price,
        )
        if stop is None:
            return free
        met = exact(offer, price)
        return jax.tree.map(lambda a, b: jnp.where(offer.step >= stop, a, b), met, free)

    return budget
