"""Compiled programs that train candidates; networks of one shape train together under `vmap`.

A program is compiled once per module and serves any number of steps. Steps run in chunks of fixed
length; the number of steps in a chunk, their learning rates and the number of distillation steps
are traced arguments.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gpnas._stacking import stack, unstack
from gpnas.data import Dataset, Split, standardize
from gpnas.masks import decay_mask
from gpnas.models import call
from gpnas.search._task import CLASSIFICATION, Training

_CHUNK = 50  # steps in one call
_BATCH = 250  # images in one call of `predict`
# On CPUs, compilation takes longer than training most candidates; 0 is for programs that run once.
_LEVEL = "xla_backend_optimization_level"


class Job(NamedTuple):
    """One training run of a candidate.

    Attributes:
      variables: Initial variables.
      free: Tree of the params' structure, each leaf () bool: parameters trained in distillation.
      rows: (steps, batch) int32, indices of the training images.
      targets: (distilled, batch, classes) float32, target probabilities of the first steps, instead
        of labels; `distilled` may be 0.
      seed: Seed of the network's random streams in training.
    """

    variables: Any
    free: Any
    rows: np.ndarray
    targets: np.ndarray
    seed: int = 0


class Rule(NamedTuple):
    """Weight updates: SGD with momentum and cosine decay of the rate to zero.

    Attributes:
      learning_rate: Initial rate, above 0.
      momentum: In [0, 1).
      weight_decay: Of weights, not of biases or scales; 0 or more.
    """

    learning_rate: float
    momentum: float
    weight_decay: float


class Programs(NamedTuple):
    """Compiled programs that train and evaluate networks.

    Attributes:
      begin: `(module, key) → variables`, initial variables.
      train: `(module, jobs) → [variables]`, one per job; all have the same number of steps. Two or
        more jobs run as one program under `vmap`.
      predict: `(module, variables, images) → (n, classes) float32` logits in evaluation mode, for
        uint8 images (n, height, width, channels).
      measure: `(module, variables, split) → float`, the task's metric in evaluation mode.
    """

    begin: Callable[[nn.Module, jax.Array], dict[str, Any]]
    train: Callable[[nn.Module, Sequence[Job]], list[dict[str, Any]]]
    predict: Callable[[nn.Module, Any, np.ndarray], np.ndarray]
    measure: Callable[[nn.Module, Any, Split], float]


class _State(NamedTuple):
    params: Any
    others: Any
    opt_state: Any


class _Replica(NamedTuple):
    """Arguments that differ between networks trained by one program."""

    state: _State
    free: Any
    rows: Any
    targets: Any
    distilled: Any
    seed: Any


class _Chunk(NamedTuple):
    """Arguments shared by networks trained by one program."""

    rates: Any
    start: Any
    count: Any
    images: Any
    labels: Any


def make_programs(data: Dataset, rule: Rule, training: Training = CLASSIFICATION) -> Programs:
    """Builds the programs for a data set.

    Args:
      data: The data set.
      rule: Weight updates.
      training: Task of the networks.
    """
    images, labels = jnp.asarray(data.train.inputs), jnp.asarray(data.train.targets)
    run = _make_run(data, rule, training)
    blank = jnp.zeros((1, *data.input_shape))

    @functools.partial(jax.jit, static_argnums=0, compiler_options=_quick(0))
    def begin(module: nn.Module, key: jax.Array) -> dict[str, Any]:
        return call.init(module, key, blank)

    @functools.partial(jax.jit, static_argnums=0, compiler_options=_quick(1))
    def logits(module: nn.Module, variables: Any, images: jax.Array) -> jax.Array:
        return jnp.asarray(call.infer(module, variables, standardize(images, data)))

    @functools.partial(jax.jit, static_argnums=0, compiler_options=_quick(1))
    def metric(module: nn.Module, variables: Any, images: jax.Array, targets: Any) -> jax.Array:
        batch = standardize(images, data), targets
        return training.make(module).metrics(variables, batch)[training.metric.name]

    def train(module: nn.Module, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        steps, states = len(jobs[0].rows), [_start(job.variables, rule) for job in jobs]
        state, free = stack(states), stack([job.free for job in jobs])
        rates = np.asarray(
            optax.cosine_decay_schedule(rule.learning_rate, max(steps, 1))(jnp.arange(steps)),
            np.float32,
        )
        for at in range(0, steps, _CHUNK):
            count = min(_CHUNK, steps - at)
            replica = _Replica(
                state,
                free,
                stack([_chunk(job.rows, at) for job in jobs]),
                stack([_targets(job, at, data.num_classes) for job in jobs]),
                stack([np.int32(len(job.targets) - at) for job in jobs]),
                stack([np.uint32(job.seed) for job in jobs]),
            )
            chunk = _Chunk(_chunk(rates, at), np.int32(at), np.int32(count), images, labels)
            state = run(module, len(jobs) > 1, replica, chunk)
        return [{"params": one.params, **one.others} for one in unstack(state, len(jobs))]

    def predict(module: nn.Module, variables: Any, images: np.ndarray) -> np.ndarray:
        found = _in_batches(lambda batch: logits(module, variables, batch), images)
        return np.concatenate(found) if found else np.zeros((0, data.num_classes), np.float32)

    def measure(module: nn.Module, variables: Any, split: Split) -> float:
        if training.soft:  # a child that distils has compiled `predict` already
            values = [predict(module, variables, split.inputs).argmax(-1) != split.targets]
        else:
            values = _in_batches(
                lambda x, y: metric(module, variables, x, y), split.inputs, split.targets
            )
        return training.metric.reported(float(np.concatenate(values).mean(dtype=np.float64)))

    return Programs(begin, train, predict, measure)


def _in_batches(run: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """Runs a function batch by batch and concatenates; the last batch is padded with zeros."""
    found = []
    for at in range(0, len(arrays[0]), _BATCH):
        batch = [array[at : at + _BATCH] for array in arrays]
        count = len(batch[0])
        filled = [np.pad(x, [(0, _BATCH - count)] + [(0, 0)] * (x.ndim - 1)) for x in batch]
        found.append(np.asarray(run(*filled))[:count])
    return found


def _make_run(data: Dataset, rule: Rule, training: Training) -> Callable[..., _State]:
    """Compiles a chunk of steps; networks of one module differ only in their `_Replica`."""
    tx = _optimizer(rule)

    def loss_of(params: Any, others: Any, module: nn.Module, x: Any, target: Any, key: Any) -> Any:
        batch = standardize(x, data), target
        value, aux = training.make(module).loss({"params": params, **others}, batch, key)
        return value, aux.model_state

    def target_of(i: Any, replica: _Replica, chunk: _Chunk) -> Any:
        own = chunk.labels[replica.rows[i]]
        if not training.soft:
            return own
        hard = jax.nn.one_hot(own, data.num_classes)
        return jnp.where(i < replica.distilled, replica.targets[i], hard)

    def train(module: nn.Module, replica: _Replica, chunk: _Chunk) -> _State:
        def step(i: Any, state: _State) -> _State:
            key = jax.random.fold_in(jax.random.key(replica.seed), chunk.start + i)
            grads, others = jax.grad(loss_of, has_aux=True)(
                state.params, state.others, module, chunk.images[replica.rows[i]],
                target_of(i, replica, chunk), key,
            )  # fmt: skip
            free = jax.tree.map(lambda own: own | (i >= replica.distilled), replica.free)
            updates, opt_state = tx.update(grads, state.opt_state, state.params, free=free)
            params = jax.tree.map(lambda p, u: p - chunk.rates[i] * u, state.params, updates)
            return _State(params, others, opt_state)

        return jax.lax.fori_loop(0, chunk.count, step, replica.state)

    @functools.partial(jax.jit, static_argnums=(0, 1), compiler_options=_quick(1))
    def run(module: nn.Module, several: bool, replica: _Replica, chunk: _Chunk) -> _State:
        one = functools.partial(train, module)
        return (jax.vmap(one, (0, None)) if several else one)(replica, chunk)

    return run


def _quick(level: int) -> dict[str, Any] | None:
    return {_LEVEL: level} if jax.default_backend() == "cpu" else None


def _optimizer(rule: Rule) -> optax.GradientTransformationExtraArgs:
    """SGD without the learning rate; gradients of parameters that are not `free` are zero."""

    def freeze(grads: Any, state: Any, params: Any = None, *, free: Any, **extra: Any) -> tuple:
        del params, extra
        return jax.tree.map(lambda own, g: jnp.where(own, g, 0), free, grads), state

    return optax.chain(
        optax.add_decayed_weights(rule.weight_decay, mask=decay_mask),
        optax.GradientTransformationExtraArgs(optax.init_empty_state, freeze),
        optax.trace(rule.momentum),
    )


def _start(variables: Any, rule: Rule) -> _State:
    params = variables["params"]
    others = {name: tree for name, tree in variables.items() if name != "params"}
    return _State(params, others, _optimizer(rule).init(params))


def _chunk(rows: np.ndarray, at: int) -> np.ndarray:
    """Returns `_CHUNK` rows from index `at`, padded with 0."""
    own = rows[at : at + _CHUNK]
    return np.pad(own, [(0, _CHUNK - len(own)), *[(0, 0)] * (own.ndim - 1)])


def _targets(job: Job, at: int, classes: int) -> np.ndarray:
    batch = job.rows.shape[1]
    own = job.targets[at : at + _CHUNK].reshape(-1, batch, classes)
    return _chunk(own.astype(np.float32), 0)
