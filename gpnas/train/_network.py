"""Checks, by tracing, that a network can be trained on a task."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.errors import UserError, explained
from gpnas.masks import init_masks, masked_leaves
from gpnas.train.task import RESERVED, Aux, Metric, Task

_MEANS = (0.5, 1.0, 0.0, -0.5)  # a metric's `value` must accept at least one of these


def check_network(
    name: str, task: Task, variables: Any, batch: Any, outputs: tuple[int, ...] | None,
    axis: str | None,
) -> None:  # fmt: skip
    """Traces a network in evaluation and in training.

    Args:
      name: Name of the network in the config.
      task: The task.
      variables: Shapes of the network's variables.
      batch: Shapes of inputs and targets.
      outputs: Required shape of the outputs for one example; None: any.
      axis: Name of the mapped device axis, if any.

    Raises:
      UserError: If the network has no weights, has non-real parameters or unsuitable outputs,
        changes shapes of its variables in a step, or raises an error.
    """
    params = variables.get("params", {})
    if not masked_leaves(jax.eval_shape(init_masks, params), params):
        raise UserError(
            "model.name", name, "a network with weights: parameters of two axes or more"
        )
    if wrong := [x.dtype for x in jax.tree.leaves(params) if not _real(x)]:
        raise UserError("model.name", name, f"a network of real parameters, not {wrong[0]}")
    key = jax.eval_shape(lambda: jax.random.key(0))

    def infer(variables: Any, inputs: jax.Array, key: jax.Array) -> Any:
        del key
        return task.model.infer(variables, inputs)

    logits = _traced(name, "evaluation", infer, axis, variables, batch[0], key)
    _check_outputs(name, logits, batch[0], outputs)
    logits, new = _traced(name, "training", task.model.apply, axis, variables, batch[0], key)
    _check_outputs(name, logits, batch[0], outputs)
    for collection, tree in new.items():
        if _layout(tree) != _layout(variables[collection]):
            allowed = f"a network whose variables keep their shapes in training, as {collection!r}"
            raise UserError("model.name", name, f"{allowed} does not")


def check_task(
    name: str, task: Task, variables: Any, batch: Any, trained: Any, axis: str | None
) -> list[str]:
    """Traces a task's loss and metrics.

    Args:
      name: Name of the task in the config.
      task: The task.
      variables: Shapes of the network's variables.
      batch: Shapes of inputs and targets in evaluation.
      trained: The same shapes in training, after augmentation.
      axis: Name of the mapped device axis, if any.

    Returns:
      Names of the metrics of a step: "loss" and those of the task.

    Raises:
      UserError: If the loss or its metrics are not real scalars, if metrics in evaluation are not
        one number per example, if `metric` is not among both, or if the task raises an error.
    """
    need = functools.partial(_need_task, name)
    _check_metric(need, task.metric)
    size = len(jax.tree.leaves(batch)[0])
    key = jax.eval_shape(lambda: jax.random.key(0))
    found = _traced(name, "training", task.loss, axis, variables, trained, key, field="task.name")
    need(_is_pair(found), "whose loss returns (loss, gpnas.train.Aux)")
    loss, aux = found
    real = loss.shape == () and _real(loss)
    need(real, f"with a loss of one real number, not of shape {loss.shape} {loss.dtype}")
    state = {name: tree for name, tree in variables.items() if name != "params"}
    same = _layout(aux.model_state) == _layout(state)
    need(same, "whose loss returns the network's collections, as `Model.apply` does")
    metrics = _traced(name, "evaluation", task.metrics, axis, variables, batch, field="task.name")
    need(_is_named(metrics), "whose metrics are {name: (batch,)}")
    for own, x in aux.metrics.items():
        need(x.shape == (), f"whose loss returns means over the batch, not {own} {x.shape}")
    for own, x in metrics.items():
        need(x.shape == (size,), f"with metrics of shape (batch,), not {own} {x.shape}")
    for own in ("loss", task.metric.name):
        need(own in metrics, f"whose metrics have {own!r}")
        need(own in {"loss", *aux.metrics}, f"whose loss returns the metric {own!r}")
    return ["loss", *aux.metrics]


def _need_task(name: str, fine: bool, allowed: str) -> None:
    if not fine:
        raise UserError("task.name", name, f"a task {allowed}")


def _check_metric(need: Callable[[bool, str], None], metric: Metric) -> None:
    """Checks a metric's name, direction and reported value."""
    need(isinstance(metric, Metric), f"whose `metric` is a gpnas.train.Metric, not {metric!r}")
    names = f"whose metric has a name other than {', '.join(RESERVED)}; not {metric.name!r}"
    need(metric.name not in ("", *RESERVED), names)
    better = f"whose metric is better lower or higher, not {metric.better!r}"
    need(metric.better in ("lower", "higher"), better)
    finite = any(_is_finite(metric, mean) for mean in _MEANS)
    need(finite, "whose `Metric.value` is a finite number for a mean over examples")


def _is_finite(metric: Metric, mean: float) -> bool:
    try:
        return math.isfinite(metric.reported(mean))
    except Exception:  # user code may raise anything
        return False


def _is_pair(found: Any) -> bool:
    """Returns whether shapes match the result of `Task.loss`."""
    pair = isinstance(found, tuple) and len(found) == 2
    return (
        pair and _is_array(found[0]) and isinstance(found[1], Aux) and _is_named(found[1].metrics)
    )


def _is_named(found: Any) -> bool:
    return isinstance(found, Mapping) and all(map(_is_array, found.values()))


def _is_array(found: Any) -> bool:
    return isinstance(found, jax.ShapeDtypeStruct)


def _traced(
    name: str, when: str, f: Callable[..., Any], axis: str | None, *shapes: Any,
    field: str = "model.name",
) -> Any:  # fmt: skip
    """Returns the shapes of the result of a user's function."""
    if axis:
        f = jax.vmap(f, in_axes=None, axis_size=1, axis_name=axis, out_axes=None)
    kind = "network" if field == "model.name" else "task"
    with explained(field, name, f"a {kind} that can be called in {when}", Exception):
        found = jax.eval_shape(f, *shapes)
    return found


def _check_outputs(name: str, found: Any, inputs: Any, wanted: tuple[int, ...] | None) -> None:
    if wanted is None:
        return
    kind = "logits" if len(wanted) == 1 else "outputs"
    allowed = f"a network that returns (batch, {', '.join(map(str, wanted))}) {kind}"
    if not isinstance(found, jax.ShapeDtypeStruct):
        raise UserError("model.name", name, f"{allowed}, not a {type(found).__name__}")
    if found.shape != (len(inputs), *wanted) or not _real(found):
        shape = ", ".join(map(str, ("batch", *found.shape[1:]) if found.ndim else ()))
        raise UserError("model.name", name, f"{allowed}, not ({shape}) {found.dtype}")


def _real(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def _layout(tree: Any) -> Any:
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, [(leaf.shape, leaf.dtype) for leaf in leaves]
