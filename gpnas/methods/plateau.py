"""Pruning at plateaus: the loop that sensitivity-driven methods share.

Train until the validation loss gets no better; take away the smallest weights, as many as a bound
on that loss allows; pin them at zero; go on. The decisions need the validation images, so they are
made between epochs, on the host.
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
    """What the loop remembers.

    Attributes:
      best: () float32, lowest validation loss since the last cut.
      bad: () int32, looks since then that were not good.
      params: Parameters at `best`.
    """

    best: jax.Array
    bad: jax.Array
    params: Any


def init_plateau(masks: Any, params: Any, key: jax.Array | None) -> Plateau:
    """Before the first look: any will be better."""
    del masks, key
    return Plateau(jnp.float32(jnp.inf), jnp.int32(0), params)


def prune_at_plateaus(
    patience: int, slack: float, tolerance: float, density: float, stop: int
) -> Callable[[Any, EvalContext], Any]:
    """Reviews a network whose mask state is a `Plateau`.

    A look is good if its validation loss is below (1 + slack) · best. After `patience` bad ones the
    best parameters come back, and all weights below one threshold go: the largest threshold, found
    by bisection, whose loss stays within (1 + tolerance) · best.

    Args:
      patience: PWE, bad looks in a row that make a plateau.
      slack: How much worse than the best is still good.
      tolerance: TWT, how much of the loss a cut may cost.
      density: Cuts go no further than to this living fraction.
      stop: Step from which nothing is cut any more.

    Returns:
      `(train state, look) → train state`, for `Method.review`.

    References:
      Tartaglione et al. 2020, LOBSTER (arXiv:2011.09905), section 3.
    """

    def on_eval(state: Any, context: EvalContext) -> Any:
        memory = state.mask_state
        best, loss = (
            float(memory.best),
            float(np.float32(context.loss)),
        )  # an equal one is not below
        good = loss < (1 + slack) * best
        bad = 0 if good else int(memory.bad) + 1
        if loss < best:
            memory = Plateau(jnp.float32(loss), jnp.int32(bad), state.params)
        else:
            memory = dataclasses.replace(memory, bad=jnp.int32(bad))
        if bad < patience or int(state.step) >= stop:
            return dataclasses.replace(state, mask_state=memory)
        params = memory.params
        masks = cut(state.masks, params, context.loss_of, (1 + tolerance) * best, density)
        params = apply(masks, params)
        memory = init_plateau(masks, params, None)
        return dataclasses.replace(state, masks=masks, params=params, mask_state=memory)

    return on_eval


def cut(
    masks: Any, params: Any, loss_of: Callable[[Any], float], bound: float, density: float
) -> Any:
    """Masks without the weights below the largest threshold on |w| whose loss is within a bound.

    The threshold is sought up to the largest mean |w| of a layer, first at the smallest mean, until
    no more than one weight lies between what may go and what may not; what is taken is the *safe*
    end, whose loss was seen to be within the bound.

    Args:
      masks: Of the network.
      params: Its parameters.
      loss_of: `params → loss`.
      bound: The loss allowed.
      density: Living fraction to which a cut may go at most.

    Returns:
      Masks; those that came, if nothing may go.
    """
    weights = {
        p: np.abs(w).astype(np.float32)
        for p, w in jax.device_get(masked_leaves(masks, params)).items()
    }
    alive = jax.device_get(masked_leaves(masks))
    living = {p: weights[p][alive[p]] for p in weights}
    everything = np.sort(np.concatenate(list(living.values())))
    room = everything.size - int(np.ceil(density * sum(w.size for w in weights.values())))
    if room <= 0:
        return masks
    most = float(everything[room])  # weights below it may go; the density's own limit
    means = [float(np.mean(w)) for w in living.values() if w.size]

    def without(threshold: float) -> Any:
        return update_leaves(
            masks, {p: jnp.asarray(alive[p] & (weights[p] >= threshold)) for p in weights}
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
        if high - safe <= 1e-10 or int(np.sum((everything >= safe) & (everything < high))) <= 1:
            break
        if allowed(middle):
            safe = middle
        else:
            high = middle
    return without(safe)
