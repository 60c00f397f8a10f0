"""The regressor of the released LaNAS code: gradient descent warm-started from fit to fit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

STEPS = (20_000, 3_000)  # of the first fit and of each later fit
_OPTIMIZER = optax.chain(optax.clip_by_global_norm(5.0), optax.adam(1e-5))


def initial_weights(nodes: int, features: int) -> np.ndarray:
    """Initial weights, (nodes, features + 1) float64; the last column is the bias."""
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (nodes, features + 1)) / np.sqrt(features)


def refit(weights: np.ndarray, x: np.ndarray, y: np.ndarray, steps: int) -> np.ndarray:
    """Continues fitting the hyperplanes of a tree, from its root down.

    Args:
      weights: (nodes, features + 1), of the inner nodes of a full binary tree in level order, from
        node 1; the children of node i are 2i (good) and 2i + 1.
      x: (trials, features).
      y: (trials,), accuracies in [0, 1].
      steps: Steps of Adam with learning rate 1e-5 and fresh moments.

    Returns:
      New weights, unchanged for nodes without trials.

    References:
      Wang et al. 2019 (arXiv:1906.06832), as released.
    """
    found, most = weights.copy(), (len(weights) + 1) // 2
    z = np.column_stack([x, np.ones(len(x))])
    bags = {1: np.arange(len(x))}
    level = 1
    while level <= len(weights):
        own = range(level, 2 * level)
        moments = [_moments(z[bags[node]], y[bags[node]]) for node in own]
        grams, sides = (np.zeros((most, *part.shape)) for part in moments[0])
        for i, (gram, side) in enumerate(moments):
            grams[i], sides[i] = gram, side
        start = np.zeros((most, z.shape[1]))
        start[:level] = found[level - 1 : 2 * level - 1]
        found[level - 1 : 2 * level - 1] = np.asarray(_descend(start, grams, sides, steps))[:level]
        for node in own:
            bag = bags[node]
            good = y[bag] >= (z[bag] @ found[node - 1]).mean() if bag.size else np.array([], bool)
            bags |= {2 * node: bag[good], 2 * node + 1: bag[~good]}
        level *= 2
    return found


def _moments(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sufficient statistics of the trials for the gradient of the mean squared error."""
    count = max(len(y), 1)
    return z.T @ z / count, z.T @ y / count


@jax.jit
def _descend(start: jax.Array, grams: jax.Array, sides: jax.Array, steps: int) -> jax.Array:
    """Returns weights (nodes, features + 1) after `steps` steps per node."""

    def one(weights: jax.Array, gram: jax.Array, side: jax.Array) -> jax.Array:
        def step(_: int, carry: tuple) -> tuple:
            weights, state = carry
            updates, state = _OPTIMIZER.update(2 * (gram @ weights - side), state)
            return optax.apply_updates(weights, updates), state

        return jax.lax.fori_loop(0, steps, step, (weights, _OPTIMIZER.init(weights)))[0]

    return jax.vmap(one)(*(jnp.asarray(a, jnp.float32) for a in (start, grams, sides)))
