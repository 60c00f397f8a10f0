"""Folds the outputs of constant units into the biases of their consumers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gpnas._jit_once import jit_once
from gpnas.masks import tree
from gpnas.units._groups import UnitGroups, active_indices
from gpnas.units._indexing import producers, sum_owned
from gpnas.units.graph import BOTH

_CLOSE = 1e-5  # tolerance for equal values at all positions of all inputs


class _Layer(NamedTuple):
    """Observations of a layer: number of calls, constant inputs, and their contribution."""

    calls: int
    constant: np.ndarray | None = None
    added: jax.Array | None = None


def fold_constants(
    apply_fn: Callable[..., Any], variables: Mapping[str, Any], groups: UnitGroups, *inputs: Any
) -> dict[str, Any]:
    """Folds units with zero kernels and nonzero biases into the layers that consume them.

    A gate or a pruning rule often zeroes the kernel of a filter and not its bias. The output of
    such a filter is constant. Papers count it as pruned, but it cannot be removed. This function
    adds the constants to the biases of the consuming dense layers and convolutions, and zeroes the
    weights that consumed them. The function stays the same, and the units become inactive
    (`active_units`). A constant whose contribution differs between positions, as near padded
    borders, is not folded.

    Args:
      apply_fn: A function that applies Linen modules; layers inside `jit`, `remat` or `scan` are
        not changed.
      variables: Its variables, pruned.
      groups: Groups found by `discover`.
      *inputs: At least two examples, for which no activation is constant by chance.

    Returns:
      The variables with folded kernels and biases.
    """
    known: dict[str, Any] = dict(variables)
    for _ in range(len(groups.groups) + 1):  # a consumer of constants only is constant, too
        constant = _constant(groups, known)
        if not any(which.any() for axes in constant.values() for which in axes.values()):
            break
        found = _observe(apply_fn, known, constant, inputs)
        found = {path: layer for path, layer in found.items() if layer.calls == 1}
        if not any(layer.constant is not None for layer in found.values()):
            break
        known["params"] = _folded(known["params"], found)
    return known


def _constant(groups: UnitGroups, variables: Any) -> dict[str, dict[int, np.ndarray]]:
    """`{path: {axis: (n,) bool}}`: indices of units with zero kernels and nonzero consumers."""
    nonzero = {path: np.asarray(leaf) != 0 for path, leaf in tree.leaves_by_path(variables).items()}

    @jit_once
    def not_constant(nonzero: Any) -> dict[str, jax.Array]:
        found = {}
        for group in groups.groups:
            own = producers(group)
            tied = any(member.role == BOTH for member in group.members)
            if own and not group.summed and not tied:
                produced = sum_owned(group._replace(members=own), nonzero) > 0
                found[group.name] = produced | (sum_owned(group, nonzero, "outgoing") == 0)
        return found

    masks = {name: np.asarray(mask) for name, mask in not_constant(nonzero).items()}
    return {
        path: {axis: ~np.asarray(active) for axis, active in axes.items()}
        for path, axes in active_indices(groups, masks, variables).items()
    }


def _observe(
    apply_fn: Callable[..., Any],
    variables: Any,
    constant: Mapping[str, Mapping[int, np.ndarray]],
    inputs: tuple,
) -> dict[str, _Layer]:
    """`{path: observation}` of each dense layer and convolution on the inputs."""
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
    """Returns (foldable inputs of a layer, their contribution to its output), or (None, None)."""
    grouped = getattr(layer, "feature_group_count", 1) > 1
    if not same or grouped or not layer.use_bias or isinstance(x, jax.core.Tracer):
        return None, None  # traced inputs: in a loop, iterations share the layer
    kernel = layer.variables["params"]["kernel"]
    own = same.get(kernel.ndim - 2, np.zeros(1, bool)) & _is_consumed(kernel) & _is_uniform(x)
    linear = layer.clone(use_bias=False, parent=None, name=None)
    isolated = jnp.where(own, x, jnp.zeros_like(x))
    added = jnp.asarray(linear.apply({"params": {"kernel": kernel}}, isolated))
    if not own.any() or not _is_uniform(added).all():
        return None, None
    return own, added.reshape(-1, added.shape[-1])[0]


def _is_consumed(kernel: jax.Array) -> np.ndarray:
    """Returns which inputs have a nonzero weight."""
    other = tuple(axis for axis in range(kernel.ndim) if axis != kernel.ndim - 2)
    return np.asarray((kernel != 0).any(other))


def _is_uniform(values: jax.Array) -> np.ndarray:
    """Returns which features are equal at all positions of all examples."""
    rows = np.asarray(values).reshape(-1, values.shape[-1])
    return np.ptp(rows, 0) <= _CLOSE * np.maximum(1, np.abs(rows[0]))


def _folded(params: Any, found: Mapping[str, _Layer]) -> Any:
    """Folds the constants of layers into the params."""

    def fold(path: tuple, leaf: jax.Array) -> jax.Array:
        owner, _, name = tree.path_name(path).rpartition("/")
        layer = found.get(owner)
        if layer is None or layer.constant is None or layer.added is None:
            return leaf
        if name == "kernel":
            return jnp.where(layer.constant[:, None], jnp.zeros_like(leaf), leaf)
        return leaf + layer.added if name == "bias" else leaf

    return jax.tree_util.tree_map_with_path(fold, params)
