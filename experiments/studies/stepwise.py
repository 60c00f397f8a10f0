"""Training a few steps at a time, for studies that read the state in between."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.studies.sharing.shared import minibatches
from gpnas.data import Dataset, standardize
from gpnas.methods import Method
from gpnas.train import Plan, TrainState, init_state


def batches(plan: Plan, data: Dataset, seed: int) -> np.ndarray:
    """Returns the examples of each step, (steps, batch) int32: shuffled passes.

    Args:
      plan: Plan of the run.
      data: The data set.
      seed: Seed of the order.
    """
    rng = np.random.default_rng(seed)
    return minibatches(rng, len(data.train), plan.batch_size, plan.total_steps)


def initial(plan: Plan, method: Method, seed: int) -> TrainState:
    """Returns the train state before the first step.

    Args:
      plan: Plan of the run.
      method: The plan's method, or another one.
      seed: Seed of the initial weights and masks.
    """
    inputs = jnp.zeros((1, *plan.inputs.shape), plan.inputs.dtype)
    return init_state(plan.task, method, plan.tx, inputs, jax.random.key(seed))


def advancing(
    step: Callable, data: Dataset, most: int
) -> Callable[[TrainState, np.ndarray], TrainState]:
    """Returns `(state, rows) → state`, compiled once for any number of rows.

    Args:
      step: From `make_step`.
      data: The data set; `rows` are indices of its training examples, one row per step.
      most: Maximum number of rows.
    """
    images, labels = jnp.asarray(data.train.inputs), jnp.asarray(data.train.targets)

    @jax.jit
    def advance(
        state: TrainState, rows: jax.Array, count: Any, images: Any, labels: Any
    ) -> TrainState:
        def turn(i: jax.Array, state: TrainState) -> TrainState:
            batch = standardize(images[rows[i]], data), labels[rows[i]]
            return step(state, jax.lax.optimization_barrier(batch))[0]

        return jax.lax.fori_loop(0, count, turn, state)

    def padded(state: TrainState, rows: np.ndarray) -> TrainState:
        filled = np.pad(rows, ((0, most - len(rows)), (0, 0)))
        return advance(state, filled, np.int32(len(rows)), images, labels)

    return padded
