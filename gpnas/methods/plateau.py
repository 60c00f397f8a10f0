"""Pruning at plateaus of the validation loss, for sensitivity-driven methods.

When the validation loss stops improving, as many of the smallest weights are pruned as a bound on
that loss allows. This needs the validation examples, so it runs on the host after an evaluation.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from gpnas.masks import apply, masked_leaves, update_leaves
from gpnas.methods._method import EvalContext


@flax.struct.dataclass
class Plateau:
    """Mask state of pruning at plateaus.

    Attributes:
      best: () float32, lowest validation loss since the last pruning.
      bad: () int32, consecutive evaluations without improvement.
      params: Parameters at `best`.
    """

    best: jax.Array
    bad: jax.Array
    params: Any


def init_plateau(masks: Any, params: Any, key: jax.Array | None) -> Plateau:
    """Returns the state before the first evaluation."""
    del masks, key
    return Plateau(jnp.float32(jnp.inf), jnp.int32(0), params)


def prune_at_plateaus(
    patience: int, slack: float, tolerance: float, density: float, stop: int
) -> Callable[[Any, EvalContext], Any]:
    """Makes a hook that prunes at plateaus, for methods whose mask state is a `Plateau`.

    An evaluation is good if its validation loss is below (1 + slack) · best. After `patience` bad
    ones, the best parameters are restored, and all weights below one threshold are pruned: the
    largest threshold, found by bisection, whose loss is at most (1 + tolerance) · best, and at most
    the largest mean absolute weight of a layer.

    Args:
      patience: PWE, number of consecutive bad evaluations that defines a plateau.
      slack: Relative increase over the best loss that still counts as good.
      tolerance: TWT, relative increase of the loss that pruning may cause.
      density: Lower bound on the density.
      stop: Step from which no more weights are pruned.

    Returns:
      `(train state, EvalContext) → train state`, for `Hooks.on_eval`.

    References:
      Tartaglione et al. 2020, LOBSTER (arXiv:2011.09905), section 3.
    """

    def on_eval(state: Any, context: EvalContext) -> Any:
        memory = state.mask_state
        best, loss = float(memory.best), float(np.float32(context.loss))  # float32, as `best` is
        good = loss < (1 + slack) * best
        bad = 0 if good else int(memory.bad) + 1
        if loss < best:
            memory = Plateau(jnp.float32(loss), jnp.int32(bad), state.params)
        else:
            memory = dataclasses.replace(memory, bad=jnp.int32(bad))
        if bad < patience or int(state.step) >= stop:
            return dataclasses.replace(state, mask_state=memory)
        params = memory.params
        masks = prune_to_bound(
            state.masks, params, context.loss_of, (1 + tolerance) * best, density
        )
        params = apply(masks, params)
        memory = init_plateau(masks, params, None)
        return dataclasses.replace(state, masks=masks, params=params, mask_state=memory)

    return on_eval


def prune_to_bound(
    masks: Any, params: Any, loss_of: Callable[[Any], float], bound: float, density: float
) -> Any:
    """Prunes up to the largest threshold on `|w|` whose loss is within a bound.

    Bisects between 0 and the largest mean `|w|` of a layer, starting at the smallest mean, until at
    most one weight lies in the interval. The result is the lower end, whose evaluated loss is
    within the bound.

    Args:
      masks: Masks of the network.
      params: Parameters of the network.
      loss_of: `params → loss`.
      bound: Largest allowed loss.
      density: Lower bound on the density.

    Returns:
      Masks; the given ones if nothing can be pruned.
    """
    weights = {
        p: np.abs(w).astype(np.float32)
        for p, w in jax.device_get(masked_leaves(masks, params)).items()
    }
    active = jax.device_get(masked_leaves(masks))
    values = {p: weights[p][active[p]] for p in weights}
    ordered = np.sort(np.concatenate(list(values.values())))
    prunable = ordered.size - int(np.ceil(density * sum(w.size for w in weights.values())))
    if prunable <= 0:
        return masks
    most = float(ordered[prunable])  # the threshold at the lower bound of the density
    means = [float(np.mean(w)) for w in values.values() if w.size]

    def without(threshold: float) -> Any:
        return update_leaves(
            masks, {p: jnp.asarray(active[p] & (weights[p] >= threshold)) for p in weights}
        )

    def allowed(threshold: float) -> bool:
        return loss_of(apply(without(threshold), params)) <= bound

    safe, high = 0.0, min(max(means), most)
    if allowed(high):
        return without(high)
    low = min(min(means), high)
    if allowed(low):
        safe = low
    else:
        high = low
    for _ in range(30):
        middle = (safe + high) / 2
        if high - safe <= 1e-10 or int(np.sum((ordered >= safe) & (ordered < high))) <= 1:
            break
        if allowed(middle):
            safe = middle
        else:
            high = middle
    return without(safe)
