"""Tasks: the loss of a network on a batch, and the metric by which networks are compared.

A `Task` consists of three pure functions. The training loop, records and search use its metric, and
assume neither classification nor images. `supervised` builds a task from a loss of outputs and
targets; `classification`, `regression`, `multilabel` and `language` are such tasks.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gpnas import plugins
from gpnas.errors import UserError
from gpnas.masks import tree
from gpnas.models import Model
from gpnas.plugins import In

# Names in metrics lines that are unavailable for metrics.
RESERVED = (
    "step", "split", "density", "grown", "pruned", "skipped", "layers", "units",
    "learning_rate", "images_per_s", "wall_s",
)  # fmt: skip
_LOG_MAX = math.log(sys.float_info.max)
#: Inputs and targets, (batch, …).
Batch = tuple[Any, Any]
#: `(outputs, targets) → (batch,)`.
PerExample = Callable[[jax.Array, jax.Array], jax.Array]


class Metric(NamedTuple):
    """The metric by which networks of a task are selected and compared.

    Attributes:
      name: One of `Task.metrics`, not in `RESERVED`.
      unit: Unit of the reported value; may be empty.
      better: Whether "lower" or "higher" values are better.
      value: `mean over examples → reported value`, on Python floats.
    """

    name: str
    unit: str = ""
    better: Literal["lower", "higher"] = "lower"
    value: Callable[[float], float] = lambda mean: mean

    def reported(self, mean: float) -> float:
        """Returns the reported value; NaN if `value` raises ArithmeticError or ValueError."""
        try:
            return float(self.value(mean))
        except (ArithmeticError, ValueError):  # division by zero, logarithm of zero
            return math.nan

    def improves(self, new: float, old: float) -> bool:
        """Returns whether a value is better than another."""
        return new < old if self.better == "lower" else new > old

    def text(self, value: float, named: bool = True) -> str:
        """Formats a reported value with its unit, after the name if `named`."""
        shown = f"{value:.2f}" if self.unit == "%" else f"{value:.4g}"
        name = f"{self.name.replace('_', ' ')} " if named else ""
        return f"{name}{shown} {self.unit}".rstrip()

    @property
    def worst(self) -> float:
        """Returns the worst value: +inf if lower is better, else -inf."""
        return float("inf") if self.better == "lower" else float("-inf")


class Aux(NamedTuple):
    """Auxiliary outputs of a loss.

    Attributes:
      model_state: The network's collections except "params", after the step.
      metrics: `{name: () float32}`, means over the batch.
    """

    model_state: Any
    metrics: dict[str, jax.Array]


class Task(NamedTuple):
    """A training task, as pure functions.

    Attributes:
      init: `(key, inputs) → variables`, a dict of "params" and other collections.
      loss: `(variables, batch, key) → (loss, Aux)`, for a batch `(inputs, targets)`; () float32.
        The key is for random layers; None in evaluation.
      metrics: `(variables, batch) → {name: (batch,)}` in evaluation; "loss" is one of them.
      metric: The metric by which networks are selected and compared.
      model: The network; units, cost and exported files are those of `model.infer`.
      outputs: `(data set) → shape` of the outputs for one example that the loss requires; None:
        any.
    """

    init: Callable[[jax.Array, Any], dict[str, Any]]
    loss: Callable[[Any, Batch, jax.Array | None], tuple[jax.Array, Aux]]
    metrics: Callable[[Any, Batch], dict[str, jax.Array]]
    metric: Metric
    model: Model
    outputs: Callable[[Any], tuple[int, ...]] | None = None


def supervised(
    model: Model,
    loss: PerExample,
    metrics: Mapping[str, PerExample],
    metric: Metric,
    outputs: Callable[[Any], tuple[int, ...]] | None = None,
) -> Task:
    """Builds a task whose loss is a mean over examples of a function of outputs and targets.

    Args:
      model: The network.
      loss: `(outputs, targets) → (batch,)`; outputs are at least float32.
      metrics: Functions of the same signature, by name.
      metric: As for `Task`.
      outputs: As for `Task`.
    """

    def loss_fn(variables: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Aux]:
        inputs, targets = batch
        found, state = model.apply(variables, inputs, key)
        found = jax.tree.map(tree.wide, found)
        means = {n: jnp.mean(f(found, targets), dtype=jnp.float32) for n, f in metrics.items()}
        return loss(found, targets).mean(), Aux(state, means)

    def metrics_fn(variables: Any, batch: Batch) -> dict[str, jax.Array]:
        inputs, targets = batch
        found = jax.tree.map(tree.wide, model.infer(variables, inputs))
        return {n: f(found, targets) for n, f in {"loss": loss, **metrics}.items()}

    return Task(model.init, loss_fn, metrics_fn, metric, model, outputs)


def classification(
    model: Model, *, label_smoothing: Annotated[float, In(0, 1, open="high")] = 0.0
) -> Task:
    """Builds a classification task: cross-entropy in nats, and the error in %.

    Targets are classes, (batch,) int, or class probabilities, (batch, classes) float32, for example
    from mixup. With probabilities, an example is correct if its most probable class is predicted.

    Args:
      model: A network with (batch, classes) logits.
      label_smoothing: α of Szegedy et al. 2016 (arXiv:1512.00567), section 7, in [0, 1); training
        only.
    """

    def smoothed(logits: jax.Array, targets: jax.Array) -> jax.Array:
        if targets.ndim == 1:
            targets = jax.nn.one_hot(targets, logits.shape[-1], dtype=logits.dtype)
        return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, label_smoothing))

    task = supervised(
        model,
        _cross_entropy,
        {"error": _wrong},
        Metric("error", "%", value=percent),
        lambda data: (data.num_classes,),
    )
    if not label_smoothing:
        return task
    return task._replace(loss=supervised(model, smoothed, {"error": _wrong}, task.metric).loss)


def regression(model: Model) -> Task:
    """Builds a regression task: squared error, a mean over outputs, and RMSE in targets' units.

    Args:
      model: A network with (batch, outputs) values; targets are float32 of the same shape.
    """

    def squared(values: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(values - targets).reshape(len(targets), -1), -1)

    metric = Metric("rmse", value=lambda mean: mean**0.5)
    return supervised(model, squared, {"rmse": squared}, metric, _target_shape)


def multilabel(model: Model) -> Task:
    """Builds a multi-label task: sigmoid cross-entropy in nats per label, and wrong labels in %.

    Args:
      model: A network with (batch, labels) logits; targets are bool or 0 and 1 of the same shape.
    """

    def loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
        return optax.sigmoid_binary_cross_entropy(logits, targets.astype(logits.dtype)).mean(-1)

    def wrong(logits: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.mean((logits > 0) != (targets > 0.5), -1, dtype=jnp.float32)

    metric = Metric("label_error", "%", value=percent)
    return supervised(model, loss, {"label_error": wrong}, metric, _target_shape)


def language(model: Model) -> Task:
    """Builds a language task: next-token cross-entropy in nats, a sequence mean, and perplexity.

    Args:
      model: A network with (batch, length, vocabulary) logits of tokens (batch, length) int;
        targets are the next tokens, (batch, length) int.
    """

    def loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean(-1)

    metric = Metric("perplexity", value=_exp)
    return supervised(
        model, loss, {"perplexity": loss}, metric,
        lambda data: (*_target_shape(data), data.num_classes),
    )  # fmt: skip


def output_shape(name: str, task: Task, data: Any) -> tuple[int, ...] | None:
    """Returns the output shape for one example that a task needs on a data set; None: any.

    Args:
      name: Name of the task in the config.
      task: The task.
      data: The data set.

    Raises:
      UserError: If `task.outputs` raises, or returns no shape.
    """
    if task.outputs is None:
        return None
    allowed = "a task whose `outputs` returns a shape, as (data.num_classes,)"
    found = plugins.call_user("task.name", name, allowed, task.outputs, data)
    if not isinstance(found, Sequence) or not all(isinstance(n, Integral) for n in found):
        raise UserError("task.name", name, f"{allowed}; not {found!r}")
    return tuple(map(int, found))


TASKS: Mapping[str, Callable[..., Task]] = {
    "classification": classification,
    "regression": regression,
    "multilabel": multilabel,
    "language": language,
}


# Kinds of targets (`gpnas.data.Fields`) of each task; a user's task takes any.
TARGET_KINDS: Mapping[str, str] = {
    "classification": "class",
    "regression": "value",
    "multilabel": "labels",
    "language": "next",
}


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the cross-entropy per example, (batch,) float32 in nats.

    Args:
      logits: (batch, classes).
      labels: (batch,) int, or (batch, classes) probabilities.
    """
    if labels.ndim == 1:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return optax.softmax_cross_entropy(logits, labels)


def _wrong(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns whether the most probable class differs from the label's, (batch,) bool."""
    return jnp.argmax(logits, -1) != (labels if labels.ndim == 1 else jnp.argmax(labels, -1))


def _exp(mean: float) -> float:
    return math.exp(mean) if mean < _LOG_MAX else math.inf


def percent(fraction: Any) -> float:
    """Converts a fraction to a percentage, rounded to four places."""
    return round(100 * float(fraction), 4)


def _target_shape(data: Any) -> tuple[int, ...]:
    return tuple(data.train.targets.shape[1:])
