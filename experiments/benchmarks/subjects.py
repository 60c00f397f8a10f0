"""Subjects of comparisons: the training program, and a plain loop without gpnas in its steps."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from gpnas.data import Dataset, Fields, Split, load
from gpnas.errors import UserError
from gpnas.models import call
from gpnas.train import Plan, make_plan, make_program

from .measure import Options

BATCH = 128
_LONG = 1000  # epochs, so that masks change in all measured steps


def random_data(shape: tuple[int, int, int], images: int, seed: int = 0) -> Dataset:
    """Returns random images of ten classes: `images` for training, a tenth for evaluation."""
    rng = np.random.default_rng(seed)

    def split(count: int) -> Split:
        pixels = rng.integers(0, 256, (count, *shape)).astype(np.uint8)
        return Split(pixels, rng.integers(0, 10, count).astype(np.int32))

    channels = np.full(shape[-1], 0.5, np.float32)
    names = tuple(str(digit) for digit in range(10))
    return Dataset(
        "random", split(images), split(images // 10), split(images // 10),
        Fields("image", "class", 10, names), "", channels, np.full_like(channels, 0.25),
    )  # fmt: skip


def fashion_mnist(options: Options) -> Dataset:
    """Returns Fashion-MNIST if it is available, else random images of equal shape and number."""
    shape = (28, 28, 1)
    if options.fast:
        return random_data(shape, 2000)
    try:
        return load("fashion_mnist", download=False)
    except UserError:
        return random_data(shape, 54_000)


def config_of(options: Options, method: str, model: str) -> ConfigDict:
    """Returns a method's config with another network, long enough for measurements."""
    config = options.configs[method]()
    config.model.name = model
    config.train.batch_size = BATCH
    config.train.epochs = _LONG
    return config


def every(config: ConfigDict, steps: int) -> None:
    """Sets the steps between mask updates; other durations, all "auto", depend on them."""
    config.method.every = steps


def rows(data: Dataset, steps: int, replicas: int = 1) -> np.ndarray:
    """Returns (replicas, steps, batch) int32, indices of the images of `steps` steps."""
    rng = np.random.default_rng(0)
    return rng.integers(0, len(data.train), (replicas, steps, BATCH)).astype(np.int32)


def trained(config: ConfigDict, data: Dataset, steps: int, replicas: int = 1) -> Callable[[], Any]:
    """Returns the training program as a function; each call trains `steps` further steps."""
    program = make_program(make_plan(config, data), data, replicas)
    state = program.place(program.init([jax.random.key(seed) for seed in range(replicas)]))
    index, done = rows(data, steps, replicas), 0

    def run() -> Any:
        nonlocal state, done
        state, sums = program.run(state, index, steps, done)
        done += steps
        return state, sums

    return run


class Plain(NamedTuple):
    """A plain training loop of dense networks, written with optax only.

    All arrays have a leading axis of replicas if there are several.

    Attributes:
      init: `() → state`.
      run: `(state, rows) → (state, sums of loss and error)`, one step per row.
      evaluate: `(state, images, labels) → (loss, errors)`, summed over whole batches.
    """

    init: Callable[[], Any]
    run: Callable[[Any, np.ndarray], tuple[Any, jax.Array]]
    evaluate: Callable[[Any, Any, Any], jax.Array]


def _loss_and_error(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns cross-entropy in nats and whether the predicted class is wrong, (batch,) each."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses, jnp.argmax(logits, -1) != labels


def plain(config: ConfigDict, data: Dataset, replicas: int = 1) -> Plain:
    """Returns the plain loop of the network, the optimizer and the images of a config."""
    plan: Plan = make_plan(config, data)
    module: Any = plan.task.model.module
    rate = optax.cosine_decay_schedule(config.optimizer.learning_rate, plan.total_steps)
    tx = optax.sgd(rate, momentum=config.optimizer.arguments.momentum)
    images, labels = jnp.asarray(data.train.inputs), jnp.asarray(data.train.targets)

    def scaled(pixels: jax.Array) -> jax.Array:
        return (pixels.astype(jnp.float32) / 255 - data.mean) / data.std

    def of_replicas(f: Callable, *axes: int | None) -> Callable:
        return jax.vmap(f, axes) if replicas > 1 else f

    def init(key: jax.Array) -> tuple:
        variables = call.init(module, key, jnp.zeros((1, *data.input_shape)))
        params = variables.pop("params")
        return params, variables, tx.init(params), jnp.zeros(2)

    def step(state: tuple, x: jax.Array, y: jax.Array) -> tuple:
        params, others, moments, sums = state

        def loss(params: Any) -> tuple:
            variables = {"params": params, **others}
            logits, new = call.forward(module, variables, x, jax.random.key(0))
            losses, wrong = _loss_and_error(logits, y)
            return losses.mean(), (new, jnp.stack([losses.mean(), wrong.mean()]))

        grads, (others, seen) = jax.grad(loss, has_aux=True)(params)
        updates, moments = tx.update(grads, moments, params)
        return optax.apply_updates(params, updates), others, moments, sums + seen

    def one(state: tuple, images: Any, labels: Any, index: Any, i: Any) -> tuple:
        return step(state, scaled(images[index[i]]), labels[index[i]])

    def many(state: tuple, images: Any, labels: Any, index: Any) -> tuple:
        def turn(i: Any, state: tuple) -> tuple:
            return one(state, images, labels, index, i)

        return jax.lax.fori_loop(0, len(index), turn, state)  # static length

    stepwise, looped = plan.loop == "steps", of_replicas(many, 0, None, None, 0)
    compiled = jax.jit(one if stepwise else looped, donate_argnums=0)

    def run(state: tuple, index: np.ndarray) -> tuple[tuple, jax.Array]:
        state = (*state[:3], jnp.zeros_like(state[3]))
        for turn in [(np.int32(i),) for i in range(len(index))] if stepwise else [()]:
            state = compiled(state, images, labels, index, *turn)
        return state, state[3]

    def evaluate(state: tuple, images: Any, labels: Any) -> jax.Array:
        variables = {"params": state[0], **state[1]}
        logits = call.infer(module, variables, scaled(images))
        losses, wrong = _loss_and_error(logits, labels)
        return jnp.stack([losses.sum(), wrong.sum()])

    keys = jax.random.split(jax.random.key(0), replicas)
    start = functools.partial(jax.jit(of_replicas(init, 0)), keys if replicas > 1 else keys[0])
    return Plain(start, run, jax.jit(of_replicas(evaluate, 0, None, None)))


def plain_steps(config: ConfigDict, data: Dataset, steps: int) -> Callable[[], Any]:
    """Returns the plain loop as a function; each call trains `steps` further steps."""
    loop, index = plain(config, data), rows(data, steps)[0]
    state = loop.init()

    def run() -> Any:
        nonlocal state
        state, sums = loop.run(state, index)
        return sums

    return run
