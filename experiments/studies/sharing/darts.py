"""First-order DARTS: gradient descent on the weights of a mixture of all operations."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.studies.sharing.shared import (
    ImageSplit,
    Recipe,
    Shared,
    batch_of,
    chunks,
    make_descend,
    minibatches,
    supernet_model,
)
from gpnas.models import cell201
from gpnas.train import TrainState, classification


class Darts(NamedTuple):
    """Settings of the mixture weights α; the defaults are the authors', for CIFAR-10.

    References:
      Liu et al. 2019 (arXiv:1806.09055), section 3.1.1 and appendix A.1.1.
    """

    learning_rate: float = 3e-4
    first: float = 0.5  # β₁ of Adam
    second: float = 0.999  # β₂
    weight_decay: float = 1e-3  # added to the gradient
    scale: float = 1e-3  # of the initial α


class Mixture(NamedTuple):
    """State of the supernet; α before the softmax, (edges, operations) float32; state of Adam."""

    shared: TrainState
    alpha: jax.Array
    opt_state: Any


def alpha_gradient(
    supernet: nn.Module, params: Any, alpha: jax.Array, seen: ImageSplit, rows: jax.Array
) -> jax.Array:
    """Computes ∂L(w, softmax α)/∂α at the current weights, (edges, operations) float32.

    Args:
      supernet: A module such as `Supernet201`.
      params: Its weights.
      alpha: (edges, operations) float32.
      seen: Validation images.
      rows: (batch,) int32, indices of images.

    References:
      Liu et al. 2019, equation 6 with ξ = 0: the first-order approximation.
    """
    task = classification(supernet_model(supernet))

    def loss(alpha: jax.Array) -> jax.Array:
        batch = batch_of(seen, rows, jax.nn.softmax(alpha))
        return task.loss({"params": params}, batch, None)[0]

    return jax.grad(loss)(alpha)


def make_darts(
    supernet: nn.Module, recipe: Recipe = Recipe(), settings: Darts = Darts()
) -> tuple[Callable, Callable]:
    """Makes `(begin, train)`: `(state, key) → mixture`, and alternating steps.

    Args:
      supernet: A module such as `Supernet201`.
      recipe: Training settings of the weights.
      settings: Training settings of α.

    Returns:
      `begin`, and `train(mixture, training images, validation images, rows of each, (turns, batch)
      int32, total) → mixture`; a turn is a step of α, then one of the weights.
    """
    descend = make_descend(supernet, recipe)
    tx = optax.chain(
        optax.add_decayed_weights(settings.weight_decay),
        optax.adam(settings.learning_rate, settings.first, settings.second),
    )

    def begin(state: TrainState, key: jax.Array) -> Mixture:
        alpha = settings.scale * jax.random.normal(
            key, (len(cell201.EDGES), len(cell201.OPERATIONS))
        )
        return Mixture(state, alpha, tx.init(alpha))

    @functools.partial(jax.jit, donate_argnums=0)
    def turns(
        mixture: Mixture,
        seen: ImageSplit,
        validation: ImageSplit,
        rows: Any,
        own: Any,
        count: Any,
        total: Any,
    ) -> Mixture:
        def turn(i: Any, now: Mixture) -> Mixture:
            slope = alpha_gradient(supernet, now.shared.params, now.alpha, validation, own[i])
            updates, opt_state = tx.update(slope, now.opt_state, now.alpha)
            alpha = now.alpha + updates
            batch = batch_of(seen, rows[i], jax.nn.softmax(alpha))
            return Mixture(descend(now.shared, batch, total), alpha, opt_state)

        return jax.lax.fori_loop(0, count, turn, mixture)

    def train(
        mixture: Mixture,
        seen: ImageSplit,
        validation: ImageSplit,
        rows: np.ndarray,
        own: np.ndarray,
        total: int,
    ) -> Mixture:
        for count, some, others in chunks(rows, own):
            mixture = turns(mixture, seen, validation, some, others, count, jnp.float32(total))
        return mixture

    return begin, train


def first_order(
    supernet: nn.Module,
    shared: Shared,
    seen: ImageSplit,
    validation: ImageSplit,
    turns: int,
    batch: int,
    seed: int,
    recipe: Recipe = Recipe(),
) -> Mixture:
    """Searches by first-order DARTS, with the paper's settings of α.

    Args:
      supernet: A module such as `Supernet201`.
      shared: Its programs, which initialize the weights.
      seen: Training images.
      validation: Validation images, for α.
      turns: Number of steps of α, and of the weights.
      batch: Images per step.
      seed: Seed of the weights, α and the order of images.
      recipe: Settings of the weights.
    """
    begin, train = make_darts(supernet, recipe)
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    rows, own = (minibatches(rng, len(split.labels), batch, turns) for split in (seen, validation))
    start = begin(shared.init(key), jax.random.fold_in(key, 1))
    return train(start, seen, validation, rows, own, turns)


def discretise(alpha: jax.Array, without: Sequence[str] = ("none",)) -> tuple[str, ...]:
    """Returns the operation of the largest weight on each edge, except those left out.

    Args:
      alpha: (edges, operations) float32.
      without: Names of operations to leave out.

    References:
      Liu et al. 2019, section 2.4, which leaves the zero operation out.
    """
    names = [name for name in cell201.OPERATIONS if name not in without]
    columns = np.asarray(alpha)[:, [cell201.OPERATIONS.index(name) for name in names]]
    return tuple(names[i] for i in columns.argmax(1))
