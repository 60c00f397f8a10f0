"""Weight sharing: a supernet trained on random paths, whose weights rank architectures.

The selection of operations is an argument of the programs. Training a single network means
selecting the same path in every step.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gpnas.data import Dataset, Split, standardize
from gpnas.methods import dense
from gpnas.models import Model, cell201
from gpnas.search import Evaluate, Trial
from gpnas.train import TrainState, classification, make_step, scale_by_rate, state_of

CHUNK = 100  # minibatches passed to a compiled loop per call; it may use fewer


class Recipe(NamedTuple):
    """Training settings of the weights: SGD with momentum and cosine decay of the learning rate.

    References:
      Li & Talwalkar 2020 (arXiv:1902.07638), section 3.2, after Liu et al. 2019, DARTS
      (arXiv:1806.09055), appendix A.1.
    """

    learning_rate: float = 0.025
    least: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float = 5.0


class ImageSplit(NamedTuple):
    """A split on the device: images (n, height, width, channels) float32, labels (n,) int32."""

    images: jax.Array
    labels: jax.Array


class Shared(NamedTuple):
    """A supernet's programs; a selection is (edges,) int or (edges, operations) float.

    Attributes:
      init: `key → state`.
      train: `(state, images, selections, rows, total) → state`: step i trains `selections[i]` on
        the images `rows[i]`, (batch,) int32; the learning rate decays to `recipe.least` in `total`
        steps.
      error: `(params, images, selection, rows) → float`, the mean error (a fraction) over the
        minibatches `rows`, (minibatches, batch) int32; batch norms use the statistics of each
        minibatch.
    """

    init: Callable[[jax.Array], TrainState]
    train: Callable[[TrainState, ImageSplit, np.ndarray, np.ndarray, int], TrainState]
    error: Callable[[Any, ImageSplit, np.ndarray, np.ndarray], float]


def image_split(split: Split, data: Dataset) -> ImageSplit:
    """Returns a split, standardised with the training images' statistics."""
    return ImageSplit(standardize(jnp.asarray(split.inputs), data), jnp.asarray(split.targets))


def minibatches(rng: np.random.Generator, images: int, batch: int, count: int = 0) -> np.ndarray:
    """Returns (count, batch) int32 indices from shuffled passes; one pass if `count` is 0.

    A pass drops the last images if they do not fill a minibatch.

    Args:
      rng: Random generator.
      images: Number of images.
      batch: Images per minibatch.
      count: Number of minibatches.
    """
    each = images // batch
    count = count or each
    passes = [rng.permutation(images)[: each * batch] for _ in range(-(-count // each))]
    return np.concatenate(passes).reshape(-1, batch)[:count].astype(np.int32)


def supernet_model(supernet: nn.Module) -> Model:
    """Converts a supernet; its inputs are images and a selection of operations."""

    def init(key: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> Any:
        return supernet.init(key, *inputs)

    def apply(variables: Any, inputs: tuple[jax.Array, jax.Array], key: Any) -> tuple[Any, Any]:
        del key
        return supernet.apply(variables, *inputs), {}

    return Model(init, apply)


def batch_of(seen: ImageSplit, rows: jax.Array, selection: jax.Array) -> tuple:
    """Returns a batch of `supernet_model`: ((images, selection), labels), of the images `rows`."""
    # Computed once: XLA would otherwise recompute them for each product that uses them.
    images = jax.lax.optimization_barrier(seen.images[rows])
    return (images, selection), seen.labels[rows]


def optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """Returns the optimizer of the weights; its learning rate is an argument of `update`."""
    return optax.chain(
        optax.clip_by_global_norm(recipe.clip),
        optax.add_decayed_weights(recipe.weight_decay),
        optax.trace(recipe.momentum),
        scale_by_rate(),
    )


def make_descend(supernet: nn.Module, recipe: Recipe) -> Callable[..., TrainState]:
    """Returns `(state, batch, total) → state`: the train step, at the rate of step `state.step` of
    `total`."""
    task = classification(supernet_model(supernet))
    step = make_step(task, dense.dense(), optimizer(recipe), kind="plain")

    def descend(state: TrainState, batch: tuple, total: jax.Array) -> TrainState:
        fallen = (1 - jnp.cos(jnp.pi * state.step / total)) / 2
        rate = recipe.learning_rate - (recipe.learning_rate - recipe.least) * fallen
        return step(state, batch, rate=rate)[0]

    return descend


def make_shared(
    supernet: nn.Module, image_shape: tuple[int, ...], recipe: Recipe = Recipe()
) -> Shared:
    """Builds the programs of a supernet.

    Args:
      supernet: A module such as `Supernet201`.
      image_shape: (height, width, channels).
      recipe: Training settings of the weights.
    """

    descend = make_descend(supernet, recipe)

    @jax.jit
    def init(key: jax.Array) -> TrainState:
        start = jnp.zeros(len(cell201.EDGES), jnp.int32)
        variables = supernet.init(key, jnp.zeros((1, *image_shape)), start)
        return state_of(variables, dense.dense(), optimizer(recipe), key, lambda *leaf: False)

    @functools.partial(jax.jit, donate_argnums=0)
    def steps(
        state: TrainState, seen: ImageSplit, selections: Any, rows: Any, count: Any, total: Any
    ) -> TrainState:
        def step(i: Any, state: TrainState) -> TrainState:
            return descend(state, batch_of(seen, rows[i], selections[i]), total)

        return jax.lax.fori_loop(0, count, step, state)

    @jax.jit
    def wrong(params: Any, seen: ImageSplit, selection: Any, rows: Any, count: Any) -> jax.Array:
        def add(i: Any, total: jax.Array) -> jax.Array:
            inputs, labels = batch_of(seen, rows[i], selection)
            logits = jnp.asarray(supernet.apply({"params": params}, *inputs))
            return total + jnp.sum(jnp.argmax(logits, -1) != labels)

        return jax.lax.fori_loop(0, count, add, jnp.int32(0))

    def train(
        state: TrainState, seen: ImageSplit, selections: np.ndarray, rows: np.ndarray, total: int
    ) -> TrainState:
        for count, some, index in chunks(selections, rows):
            state = steps(state, seen, some, index, count, jnp.float32(total))
        return state

    def error(params: Any, seen: ImageSplit, selection: np.ndarray, rows: np.ndarray) -> float:
        found = [wrong(params, seen, selection, index, count) for count, index in chunks(rows)]
        return sum(map(int, found)) / rows.size

    return Shared(init, train, error)


def chunks(*arrays: np.ndarray) -> Iterator[tuple]:
    """Yields `(count, *pieces)`: pieces of `CHUNK` rows, of which the first `count` are valid."""
    for start in range(0, len(arrays[0]), CHUNK):
        pieces = [array[start : start + CHUNK] for array in arrays]
        count = len(pieces[0])
        yield np.int32(count), *(np.resize(piece, (CHUNK, *piece.shape[1:])) for piece in pieces)


def train_shared(shared: Shared, seen: ImageSplit, paths: np.ndarray, batch: int, seed: int) -> Any:
    """Trains a supernet on one path per step and returns its parameters.

    Args:
      shared: The supernet's programs.
      seen: Training images.
      paths: (steps, edges) int32, sampled at random.
      batch: Images per step.
      seed: Seed of the weights and of the order of images.

    References:
      Li & Talwalkar 2020 (arXiv:1902.07638), section 3.2.
    """
    rows = minibatches(np.random.default_rng(seed), len(seen.labels), batch, len(paths))
    return shared.train(shared.init(jax.random.key(seed)), seen, paths, rows, len(paths)).params


def by_shared_weights(
    shared: Shared, params: Any, seen: ImageSplit, rows: np.ndarray, choose: Callable
) -> Evaluate:
    """Returns `trial → {"error": fraction}`, evaluated on the first `trial.budget` minibatches.

    "1,000 architectures on 10 minibatches, the best 10 on all" is then the strategy
    `successive_halving(space, "error", (10, len(rows)), reduction=100, first=1000)`.

    Args:
      shared: The supernet's programs.
      params: Its parameters.
      seen: Validation images.
      rows: (minibatches, batch) int32, the same for all trials.
      choose: `architecture → selection`.
    """

    def evaluate(trial: Trial) -> dict[str, float]:
        selection = choose(trial.architecture)
        return {"error": shared.error(params, seen, selection, rows[: trial.budget])}

    return evaluate
