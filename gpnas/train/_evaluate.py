"""Evaluation: metrics and predicted classes of networks on all examples of a split."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpnas._stacking import stack
from gpnas.data import Dataset, Split, standardize
from gpnas.train._plan import Plan
from gpnas.train._step import Metrics

_MOST_CLASSES = 100  # largest number of classes for which predictions are kept
BYTES = 1 << 28  # largest size of the examples on the device at once

# Metrics, means over all examples, and predicted classes.
Evaluated = tuple[dict[str, float], np.ndarray | None]


def eval_batch_size() -> int:
    """Returns the examples of a batch; on a CPU, the activations of a small one fit the cache."""
    return 256 if jax.default_backend() == "cpu" else 1024


def keep_validation(plan: Plan, data: Dataset) -> Callable[[], Any] | None:
    """Returns `() → batches`: the validation split on the device, sent by the first call.

    The memory is freed with the function. None if the training set is streamed, since it may not
    fit the device, or if the validation split has several parts.
    """
    batch = eval_batch_size()
    most = -(-len(data.validation) // batch)
    if plan.stream or _part_size(data.validation, batch, most) < most:
        return None
    return functools.cache(lambda: jax.device_put(next(_batches(data.validation, batch, most))))


def make_predict_all(
    plan: Plan, data: Dataset, validation: Callable[[], Any] | None = None
) -> Callable[[list, Split], list[Evaluated]]:
    """Builds `Program.predict_all`: `([variables], split) → [(metrics, classes)]`.

    Each part of a split is one call of a program for all networks. A part has as many batches as
    the validation images, so that all splits share the program, but at most `BYTES` or one batch.
    If `plan.loop` is "steps", each network and batch is one call.

    Args:
      plan: The plan of the run.
      data: The data set.
      validation: `keep_validation`, to share its memory; by default, the function has its own.
    """
    sums, batch = _make_sums(plan, data), eval_batch_size()
    most = -(-len(data.validation) // batch)
    validation = validation or keep_validation(plan, data)
    batch_sums = jax.jit(sums)

    @jax.jit
    def all_sums(networks: list, *batches: jax.Array) -> Any:
        def one(variables: Any) -> Any:
            return jax.lax.map(lambda x: sums(variables, *x), batches)

        if len(networks) == 1:
            return jax.tree.map(lambda x: x[None], one(networks[0]))
        return jax.lax.map(one, stack(networks))

    def part_sums(networks: list, batches: tuple) -> list:
        if plan.loop == "steps":
            one_by_one = [
                [batch_sums(net, *x) for x in zip(*batches, strict=True)] for net in networks
            ]
            return [
                jax.tree.map(lambda *x: np.stack(x), *parts) for parts in jax.device_get(one_by_one)
            ]
        tree = jax.device_get(all_sums(networks, *batches))
        return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(len(networks))]

    def predict_all(networks: list, split: Split) -> list[Evaluated]:
        if validation is not None and split is data.validation:
            batches: Iterable = [validation()]
        else:
            batches = _batches(split, batch, most)
        parts = [part_sums(networks, part) for part in batches]
        found = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        return [
            (
                {name: sum(map(float, values)) / len(split) for name, values in totals.items()},
                None if classes is None else classes.reshape(-1)[: len(split)],
            )
            for totals, classes in found
        ]

    return predict_all


def _make_sums(
    plan: Plan, data: Dataset
) -> Callable[[Any, jax.Array, jax.Array, jax.Array], tuple[Metrics, jax.Array | None]]:
    """Returns `(variables, inputs, targets, count) → (sums, classes)` over `count` examples."""
    classifies = (
        data.fields.targets == "class"
        and plan.task.metric.name == "error"
        and data.num_classes <= _MOST_CLASSES
    )

    def sums(
        variables: Any, inputs: jax.Array, targets: jax.Array, count: jax.Array
    ) -> tuple[Metrics, jax.Array | None]:
        # Otherwise XLA separately moves parts of both forward passes, of the metrics and of the
        # classes, out of the loop over batches, and then merges neither.
        variables, inputs = jax.lax.optimization_barrier((variables, standardize(inputs, data)))
        found = plan.task.metrics(variables, (inputs, targets))
        real = jnp.arange(len(targets)) < count
        totals = {
            name: jnp.sum(jnp.where(real, values, 0), dtype=jnp.float32)
            for name, values in found.items()
        }
        # XLA merges this with the same operations of the metrics.
        logits = plan.task.model.infer(variables, inputs) if classifies else jnp.zeros(())
        if logits.shape != (len(targets), data.num_classes):
            return totals, None
        return totals, jnp.argmax(logits, -1).astype(jnp.int32)

    return sums


def _part_size(split: Split, batch: int, most: int) -> int:
    """Returns the batches of a part: at most `most`, and of at most `BYTES` or one."""
    size = batch * (split.inputs[:1].nbytes + split.targets[:1].nbytes)
    return min(most, max(BYTES // size, 1))


def _batches(
    split: Split, batch: int, most: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields inputs and targets in padded batches, (batches, batch, …), and their example counts.

    A split larger than `most` batches or `BYTES` is yielded in parts of equal shape.
    """
    batches = _part_size(split, batch, most)
    for start in range(0, len(split), batches * batch):
        inputs, targets = (
            np.pad(x, ((0, batches * batch - len(x)), *[(0, 0)] * (x.ndim - 1))).reshape(
                batches, batch, *x.shape[1:]
            )
            for x in (y[start : start + batches * batch] for y in (split.inputs, split.targets))
        )
        left = len(split) - start - batch * np.arange(batches)
        yield inputs, targets, np.clip(left, 0, batch).astype(np.int32)
