"""Compiled programs that train candidates; networks of one shape train together under `vmap`.

A program serves any number of steps; networks that train for few have one that compiles fast.
Steps run in chunks of fixed length; the number of steps in a chunk, their learning rates and the
number of distillation steps are traced arguments. On a GPU, each iteration of a loop of traced
length synchronises with the host. Off the CPU, whole chunks therefore have a program of static
length, and the other program is compiled only for remaining steps.
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
from gpnas.methods import dense
from gpnas.models import call
from gpnas.search._task import CLASSIFICATION, Training
from gpnas.train import TrainState, make_step, scale_by_rate, state_of

_CHUNK = 50  # steps in one call
_BATCH = 256  # images in one call of `predict`
_DENSE = dense.dense()
# On CPUs, compilation takes longer than training a candidate for few steps; 0 is for programs that
# run once.
_LEVEL = "xla_backend_optimization_level"
_FEW = 500  # steps


class Job(NamedTuple):
    """One training run of a candidate.

    Attributes:
      variables: Initial variables.
      free: Tree of the params' structure, each leaf () bool: parameters trained in distillation.
      rows: (steps, batch) int32, indices of the training examples.
      targets: (distilled, batch, classes) float32, target probabilities of the first steps, instead
        of labels; `distilled` may be 0.
      seed: Seed of the network's random streams in training.
    """

    variables: Any
    free: Any
    rows: np.ndarray
    targets: np.ndarray
    seed: int = 0


class SGD(NamedTuple):
    """Settings of SGD with momentum and cosine decay of the rate to zero.

    Attributes:
      learning_rate: Initial rate, above 0.
      momentum: In [0, 1).
      weight_decay: Of weights, not of biases or scales; 0 or more.
    """

    learning_rate: float
    momentum: float
    weight_decay: float


class CandidatePrograms(NamedTuple):
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


class _Replica(NamedTuple):
    """Arguments that differ between networks trained by one program."""

    state: TrainState
    free: Any
    rows: Any
    targets: Any
    distilled: Any


class _Chunk(NamedTuple):
    """Arguments shared by networks trained by one program."""

    rates: Any
    count: Any
    images: Any
    labels: Any


class _ModulePrograms(NamedTuple):
    """Jitted functions of one module; memory is freed with them.

    Attributes:
      begin: As in `CandidatePrograms`, without the module.
      start: `(variables, key) → state` before the first step.
      logits: `(variables, images) → (batch, classes)`, in evaluation mode.
      metric: `(variables, images, targets) → (batch,)`, the task's metric in evaluation mode.
      steps: `(many, few) → (replica, chunk, length) → state`, a chunk of steps: `length`, which is
        static, or `chunk.count` if that is None. If `many`, replicas train under `vmap`; if `few`,
        the program compiles fast.
    """

    begin: Callable[[jax.Array], dict[str, Any]]
    start: Callable[[Any, jax.Array], TrainState]
    logits: Callable[..., jax.Array]
    metric: Callable[..., jax.Array]
    steps: Callable[[bool, bool], Callable[[_Replica, _Chunk, int | None], TrainState]]


def make_programs(
    data: Dataset, rule: SGD, training: Training = CLASSIFICATION, kept: int = 16
) -> CandidatePrograms:
    """Builds the programs that train networks for a task on a data set.

    Args:
      data: The data set.
      rule: The optimizer's settings.
      training: The task.
      kept: Number of modules whose compiled programs stay in memory, about 20 MB each.
    """
    images, labels = jnp.asarray(data.train.inputs), jnp.asarray(data.train.targets)

    @functools.lru_cache(maxsize=kept)
    def of(module: nn.Module) -> _ModulePrograms:
        return _compile(module, data, rule, training)

    def train(module: nn.Module, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        own, steps = of(module), len(jobs[0].rows)
        states = [own.start(job.variables, jax.random.key(job.seed)) for job in jobs]
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
            )
            chunk = _Chunk(_chunk(rates, at), np.int32(count), images, labels)
            run = own.steps(len(jobs) > 1, steps < _FEW)
            # On a CPU, no step waits for a host, and one program compiles faster than two.
            static = count == _CHUNK and jax.default_backend() != "cpu"
            state = run(replica, chunk, _CHUNK if static else None)
        return [{"params": one.params, **one.model_state} for one in unstack(state, len(jobs))]

    def predict(module: nn.Module, variables: Any, images: np.ndarray) -> np.ndarray:
        found = _in_batches(functools.partial(of(module).logits, variables), images)
        return np.concatenate(found) if found else np.zeros((0, data.num_classes), np.float32)

    def measure(module: nn.Module, variables: Any, split: Split) -> float:
        if training.soft:  # a child that distils has compiled `predict` already
            values = [predict(module, variables, split.inputs).argmax(-1) != split.targets]
        else:
            metric = functools.partial(of(module).metric, variables)
            values = _in_batches(metric, split.inputs, split.targets)
        return training.metric.reported(float(np.concatenate(values).mean(dtype=np.float64)))

    return CandidatePrograms(lambda module, key: of(module).begin(key), train, predict, measure)


def _compile(module: nn.Module, data: Dataset, rule: SGD, training: Training) -> _ModulePrograms:
    """Makes the programs of a module; each is compiled by its first call."""
    run = _make_run(module, data, rule, training)

    def begin(key: jax.Array) -> dict[str, Any]:
        return call.init(module, key, jnp.zeros((1, *data.input_shape)))

    def start(variables: Any, key: jax.Array) -> TrainState:
        return state_of(variables, _DENSE, _optimizer(rule), key, where=lambda path, leaf: False)

    def logits(variables: Any, images: jax.Array) -> jax.Array:
        return jnp.asarray(call.infer(module, variables, standardize(images, data)))

    def metric(variables: Any, images: jax.Array, targets: Any) -> jax.Array:
        batch = standardize(images, data), targets
        return training.make(module).metrics(variables, batch)[training.metric.name]

    def together(replicas: _Replica, chunk: _Chunk, length: int | None) -> TrainState:
        return jax.vmap(lambda replica: run(replica, chunk, length))(replicas)

    @functools.cache
    def steps(many: bool, few: bool) -> Callable[[_Replica, _Chunk, int | None], TrainState]:
        options = _at_level(1) if few else None
        own = together if many else run
        return jax.jit(own, static_argnums=2, compiler_options=options)

    def jit(function: Callable[..., Any], level: int) -> Callable[..., Any]:
        return jax.jit(function, compiler_options=_at_level(level))

    return _ModulePrograms(jit(begin, 0), jit(start, 0), jit(logits, 1), jit(metric, 1), steps)


def _in_batches(run: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """Returns the results of a function batch by batch; the last batch is padded with zeros."""
    found = []
    for at in range(0, len(arrays[0]), _BATCH):
        batch = [array[at : at + _BATCH] for array in arrays]
        count = len(batch[0])
        filled = [np.pad(x, [(0, _BATCH - count)] + [(0, 0)] * (x.ndim - 1)) for x in batch]
        found.append(np.asarray(run(*filled))[:count])
    return found


def _make_run(
    module: nn.Module, data: Dataset, rule: SGD, training: Training
) -> Callable[[_Replica, _Chunk, int | None], TrainState]:
    """Returns a chunk of steps of one network, see `_ModulePrograms.steps`."""
    step = make_step(training.make(module), _DENSE, _optimizer(rule), kind="plain")

    def target_of(i: Any, replica: _Replica, chunk: _Chunk) -> Any:
        own = chunk.labels[replica.rows[i]]
        if not training.soft:
            return own
        hard = jax.nn.one_hot(own, data.num_classes)
        return jnp.where(i < replica.distilled, replica.targets[i], hard)

    def run(replica: _Replica, chunk: _Chunk, length: int | None) -> TrainState:
        def turn(i: Any, state: TrainState) -> TrainState:
            images = standardize(chunk.images[replica.rows[i]], data)
            free = jax.tree.map(lambda own: own | (i >= replica.distilled), replica.free)
            batch = images, target_of(i, replica, chunk)
            return step(state, batch, free=free, rate=chunk.rates[i])[0]

        count = chunk.count if length is None else length
        return jax.lax.fori_loop(0, count, turn, replica.state)

    return run


def _at_level(level: int) -> dict[str, Any] | None:
    """Returns options of `jax.jit` for an optimization level of XLA; the default off the CPU."""
    return {_LEVEL: level} if jax.default_backend() == "cpu" else None


def _optimizer(rule: SGD) -> optax.GradientTransformationExtraArgs:
    """SGD at a given `rate`; gradients of parameters that are not `free` are zero."""

    def freeze(grads: Any, state: Any, params: Any = None, *, free: Any, **extra: Any) -> tuple:
        del params, extra
        return jax.tree.map(lambda own, g: jnp.where(own, g, 0), free, grads), state

    return optax.chain(
        optax.add_decayed_weights(rule.weight_decay, mask=decay_mask),
        optax.GradientTransformationExtraArgs(optax.init_empty_state, freeze),
        optax.trace(rule.momentum),
        scale_by_rate(),
    )


def _chunk(rows: np.ndarray, at: int) -> np.ndarray:
    """Returns `_CHUNK` rows from index `at`, padded with 0."""
    own = rows[at : at + _CHUNK]
    return np.pad(own, [(0, _CHUNK - len(own)), *[(0, 0)] * (own.ndim - 1)])


def _targets(job: Job, at: int, classes: int) -> np.ndarray:
    batch = job.rows.shape[1]
    own = job.targets[at : at + _CHUNK].reshape(-1, batch, classes)
    return _chunk(own.astype(np.float32), 0)
