"""Whether a network can be trained as a classifier: everything that a trace can say beforehand."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpnas.errors import UserError, brief
from gpnas.masks import init_masks, masked_leaves
from gpnas.models import call


def check_network(
    name: str, module: nn.Module, variables: Any, shape: tuple[int, ...], classes: int,
    axis: str | None,
) -> None:  # fmt: skip
    """Traces a network in evaluation and in training.

    Args:
      name: The network's, as the config has it.
      module: The network.
      variables: Shapes of its variables.
      shape: (height, width, channels).
      classes: How many there are.
      axis: Axis of `pmap`, if there is one.

    Raises:
      UserError: If it has no weights, parameters that are not real numbers, other outputs than
        (batch, classes) logits, or variables that a step gives another shape; or raises.
    """
    params = variables.get("params", {})
    if not masked_leaves(jax.eval_shape(init_masks, params), params):
        raise UserError(
            "model.name", name, "a network with weights: parameters of two axes or more"
        )
    if wrong := [x.dtype for x in jax.tree.leaves(params) if not _real(x)]:
        raise UserError("model.name", name, f"a network of real parameters, not {wrong[0]}")
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))

    def infer(variables: Any, images: jax.Array, key: jax.Array) -> Any:
        del key
        return call.infer(module, variables, images)

    def train(variables: Any, images: jax.Array, key: jax.Array) -> Any:
        return call.forward(module, variables, images, key)

    logits = _traced(name, "evaluation", infer, axis, variables, images, key)
    _check_logits(name, logits, classes)
    logits, new = _traced(name, "training", train, axis, variables, images, key)
    _check_logits(name, logits, classes)
    for collection, tree in new.items():
        if _layout(tree) != _layout(variables[collection]):
            allowed = f"a network whose variables keep their shapes in training, as {collection!r}"
            raise UserError("model.name", name, f"{allowed} does not")


def _traced(name: str, when: str, f: Callable[..., Any], axis: str | None, *shapes: Any) -> Any:
    """Shapes of what a function of a user's network returns."""
    if axis:
        f = jax.vmap(f, in_axes=None, axis_size=1, axis_name=axis, out_axes=None)
    try:
        return jax.eval_shape(f, *shapes)
    except Exception as error:  # a network is a program: it may raise anything
        allowed = f"a network that can be called in {when} ({brief(error)})"
        raise UserError("model.name", name, allowed) from error


def _check_logits(name: str, logits: Any, classes: int) -> None:
    allowed = f"a network that returns (batch, {classes}) logits"
    if not isinstance(logits, jax.ShapeDtypeStruct):
        raise UserError("model.name", name, f"{allowed}, not a {type(logits).__name__}")
    if logits.shape != (2, classes) or not _real(logits):
        found = ", ".join(map(str, ("batch", *logits.shape[1:]) if logits.ndim else ()))
        raise UserError("model.name", name, f"{allowed}, not ({found}) {logits.dtype}")


def _real(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def _layout(tree: Any) -> Any:
    shapes = jax.tree.map(lambda x: (x.shape, str(x.dtype)), tree)
    return jax.tree.flatten(shapes, is_leaf=lambda x: isinstance(x, tuple) and len(x) == 2)
