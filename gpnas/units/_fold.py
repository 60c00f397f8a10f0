"""Folding: what constant units give becomes a part of their readers' biases."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gpnas.masks import tree
from gpnas.units._groups import UnitGroups, alive
from gpnas.units._indexing import leaves, makers, total
from gpnas.units.graph._roles import BOTH

_CLOSE = 1e-5  # of values that are the same at each place of each input


class _Layer(NamedTuple):
    """What is seen of a layer: how often it is called, its constant inputs, and what they add."""

    calls: int
    constant: np.ndarray | None = None
    added: jax.Array | None = None


def fold_constants(
    apply_fn: Callable[..., Any], variables: Mapping[str, Any], groups: UnitGroups, *inputs: Any
) -> dict[str, Any]:
    """Folds units whose own weights are zero, but not their biases, into what reads them.

    A gate or a pruning rule zeroes the kernel of a filter and seldom its bias: the filter is then a
    constant, which counts as pruned in papers and yet may not be left out. Here each dense layer or
    convolution that has a bias gets those constants added to it, and zeros where it read them, so
    that nothing reads such a unit (`living_units`) and the function stays. A constant that is not
    the same everywhere for its reader, as next to a padded border, stays a unit.

    Args:
      apply_fn: A function that applies Linen modules; layers inside of `jit`, `remat` or `scan` are
        left alone.
      variables: Its variables, pruned.
      groups: As `discover` finds them.
      *inputs: Of at least two examples, with values of which no activation is equal by chance.

    Returns:
      The variables, with other kernels and biases.
    """
    known: dict[str, Any] = dict(variables)
    for _ in range(len(groups.groups) + 1):  # a reader of constants alone is a constant itself
        found = _look(apply_fn, known, _constant(groups, known), inputs)
        found = {path: layer for path, layer in found.items() if layer.calls == 1}
        if not any(layer.constant is not None for layer in found.values()):
            break
        known["params"] = _folded(known["params"], found)
    return known


def _constant(groups: UnitGroups, variables: Any) -> dict[str, dict[int, np.ndarray]]:
    """Which indices along the axes of leaves belong to living units of zero kernels."""
    nonzero = {path: np.asarray(leaf) != 0 for path, leaf in leaves(variables).items()}
    masks = {}
    for group in groups.groups:
        own = makers(group)
        tied = any(member.role == BOTH for member in group.members)
        if own and not group.summed and not tied:
            masks[group.name] = np.array(total(group._replace(members=own), nonzero)) > 0
    shapes = {path: leaf.shape for path, leaf in nonzero.items()}
    found = alive(groups, masks, shapes)
    return {
        path: {axis: ~np.asarray(living) for axis, living in axes.items()}
        for path, axes in found.items()
    }


def _look(
    apply_fn: Callable[..., Any],
    variables: Any,
    constant: Mapping[str, Mapping[int, np.ndarray]],
    inputs: tuple,
) -> dict[str, _Layer]:
    """Each dense layer and convolution by path, as the inputs pass it."""
    found: dict[str, _Layer] = {}

    def watch(
        call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext
    ) -> Any:
        layer = context.module
        if context.method_name == "__call__" and isinstance(layer, nn.Dense | nn.Conv):
            path = "/".join(layer.path)
            calls = found[path].calls + 1 if path in found else 1
            same = constant.get(f"params/{path}/kernel", {})
            x = args[0] if args else kwargs["inputs"]
            found[path] = _Layer(calls, *_added(layer, same, x))
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        apply_fn(variables, *inputs)
    return found


def _added(
    layer: Any, same: Mapping[int, np.ndarray], x: jax.Array
) -> tuple[np.ndarray | None, jax.Array | None]:
    """Which inputs of a layer can be folded, and what they add to its output, if any can."""
    grouped = getattr(layer, "feature_group_count", 1) > 1
    if not same or grouped or not layer.use_bias or isinstance(x, jax.core.Tracer):
        return None, None  # traced: in a loop, say, whose turns share the layer
    kernel = layer.variables["params"]["kernel"]
    own = same.get(kernel.ndim - 2, np.zeros(1, bool)) & _read(kernel) & _everywhere(x)
    linear = layer.clone(use_bias=False, parent=None, name=None)
    alone = jnp.where(own, x, jnp.zeros_like(x))
    added = jnp.asarray(linear.apply({"params": {"kernel": kernel}}, alone))
    if not own.any() or not _everywhere(added).all():
        return None, None
    return own, added.reshape(-1, added.shape[-1])[0]


def _read(kernel: jax.Array) -> np.ndarray:
    """Which inputs a kernel reads."""
    other = tuple(axis for axis in range(kernel.ndim) if axis != kernel.ndim - 2)
    return np.asarray((kernel != 0).any(other))


def _everywhere(values: jax.Array) -> np.ndarray:
    """Which features are the same at each place of each example."""
    rows = np.asarray(values).reshape(-1, values.shape[-1])
    return np.ptp(rows, 0) <= _CLOSE * np.maximum(1, np.abs(rows[0]))


def _folded(params: Any, found: Mapping[str, _Layer]) -> Any:
    """The params with the constants of layers folded in."""

    def fold(path: tuple, leaf: jax.Array) -> jax.Array:
        owner, _, name = tree.path_name(path).rpartition("/")
        layer = found.get(owner)
        if layer is None or layer.constant is None or layer.added is None:
            return leaf
        if name == "kernel":
            return jnp.where(layer.constant[:, None], jnp.zeros_like(leaf), leaf)
        return leaf + layer.added if name == "bias" else leaf

    return jax.tree_util.tree_map_with_path(fold, params)
