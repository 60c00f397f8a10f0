"""Compaction: the same function on smaller arrays."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError
from gpnas.masks import tree
from gpnas.units._discover import group_units
from gpnas.units._groups import UnitGroups, UnitMasks, active_indices, validated_masks
from gpnas.units.graph import Cut, Graph, ShrinkContext, cuts, rule_of, solve, take, trace

Apply = Callable[..., Any]


def compact(
    apply_fn: Apply,
    variables: Any,
    groups: UnitGroups,
    unit_masks: UnitMasks,
    *inputs: Any,
    updates: bool = False,
) -> tuple[Apply, Any]:
    """Removes the inactive units of a function.

    The result computes what `apply_fn` computes with the entries of inactive units set to zero
    (`weight_masks`). It can be jitted, differentiated and vmapped. It takes inputs of any shape
    that `apply_fn` takes, and traces `apply_fn` again for each new shape. Divisors do not change: a
    mean over units still divides by the full width.

    Args:
      apply_fn: The function given to `discover`, or with `updates` the same function in training.
      variables: Its variables.
      groups: Groups found by `discover`.
      unit_masks: `{group: (size,) bool}`, on the host; missing groups are active.
      updates: Whether `apply_fn` returns `(outputs, new values of some of the variables)`, as a
        Flax module applied with `mutable` does; the new values are compacted, too.
      *inputs: Arrays or shapes for which the result is checked immediately, by abstract evaluation.

    Returns:
      `(compact_apply, compact_variables)`, for `compact_apply(compact_variables, *inputs)`.

    Raises:
      UserError: For wrong masks, or if the function has other units for these inputs.
    """
    masks = validated_masks(groups, unit_masks)
    leaves, structure = jax.tree_util.tree_flatten_with_path(variables)
    whole = jax.eval_shape(lambda variables: variables, variables)
    kept = _kept(groups, masks, variables)

    @functools.lru_cache
    def planned(structure: Any, avals: tuple) -> tuple[Graph, Cut, Any]:
        args = [jax.ShapeDtypeStruct(*aval) for aval in avals]
        traced = trace(apply_fn, whole, *jax.tree.unflatten(structure, args), updates=updates)
        solution = solve(traced)
        now, numbers = group_units(traced, solution)
        _same_units(groups, now, masks)
        removed = [numbers[name][i] for name, mask in masks.items() for i in np.flatnonzero(~mask)]
        return traced.graph, cuts(solution, removed), traced.out_tree

    def compact_apply(compact_variables: Any, *inputs: Any) -> Any:
        flat, structure = jax.tree.flatten(inputs)
        avals = tuple((jnp.shape(x), jnp.result_type(x)) for x in flat)
        graph, cut, out_tree = planned(structure, avals)
        small = jax.tree.leaves(compact_variables)
        _check_shapes(graph, cut, small)
        return jax.tree.unflatten(out_tree, run(graph, cut, [*small, *flat]))

    small = [_slice(leaf, kept.get(tree.path_name(path), {})) for path, leaf in leaves]
    result = jax.tree.unflatten(structure, small)
    if inputs:
        jax.eval_shape(compact_apply, result, *inputs)
    return compact_apply, result


def _kept(groups: UnitGroups, masks: UnitMasks, variables: Any) -> dict[str, dict[int, np.ndarray]]:
    found = active_indices(groups, masks, variables)
    kept = {p: {a: np.flatnonzero(m) for a, m in axes.items()} for p, axes in found.items()}
    for path, axes in kept.items():
        for axis, left in axes.items():
            if not len(left):
                raise UserError("unit_masks", f"nothing left of {path}:{axis}", "one index or more")
    return kept


def _slice(leaf: Any, kept: dict[int, np.ndarray]) -> Any:
    cut = {axis: left for axis, left in kept.items() if len(left) < leaf.shape[axis]}
    if not cut or isinstance(leaf, jax.core.Tracer):
        return functools.reduce(lambda x, axis: take(x, cut[axis], axis), cut, leaf)
    array = functools.reduce(lambda x, axis: np.take(x, cut[axis], axis), cut, np.asarray(leaf))
    return jnp.asarray(array)


def _same_units(then: UnitGroups, now: UnitGroups, masks: UnitMasks) -> None:
    for name in masks:
        a, b = then.named(name), now.named(name)
        same = a.size == b.size and len(a.members) == len(b.members)
        same = same and all(
            x[:2] == y[:2] and np.array_equal(x.unit, y.unit) and np.array_equal(x.at, y.at)
            for x, y in zip(a.members, b.members, strict=True)
        )
        if not same:
            raise UserError("inputs", f"other units of {name}", "inputs as they were discovered on")


def _check_shapes(graph: Graph, cut: Cut, leaves: list) -> None:
    shape = ShrinkContext(cut, graph, lambda body, args: []).shape
    for value, leaf in zip(graph.ins, leaves, strict=False):
        if jnp.shape(leaf) != shape(value):
            raise UserError("compact_variables", jnp.shape(leaf), f"a leaf of shape {shape(value)}")


def run(graph: Graph, cut: Cut, args: list) -> list:
    """Evaluates a graph on arrays without removed indices.

    Raises:
      RuntimeError: If a rule returns a result of the wrong shape.
    """
    found = dict(zip((value.id for value in graph.ins), args, strict=True))
    to = ShrinkContext(cut, graph, lambda body, inner: run(body, cut, inner))

    def read(value: Any) -> Any:
        if value.id not in found:
            x = graph.constants[value.id]
            for axis in range(len(value.shape)):
                left = cut(value, axis)
                x = x if left is None else jnp.take(jnp.asarray(x), left, axis)
            found[value.id] = x
        return found[value.id]

    for op in graph.ops:
        result = rule_of(op).shrink(op, [read(x) for x in op.ins], to)
        results = result if isinstance(result, list | tuple) else [result]
        for value, x in zip(op.outs, results, strict=True):
            if jnp.shape(x) != to.shape(value):
                raise RuntimeError(f"{op.name}: {jnp.shape(x)} instead of {to.shape(value)}")
            found[value.id] = x
    return [read(value) for value in graph.outs]
