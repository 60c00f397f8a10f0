"""A traced function as a flat list of primitives over values, with a node for every axis index.

Calls inside the jaxpr (jit, remat) are inlined, so that each `Op` is one primitive. Loops, branches
and functions with custom derivatives keep graphs of their own. A node is one index along one axis
of one value; the analyses of this package work on node numbers.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex

from gpnas.errors import UserError
from gpnas.masks import tree
from gpnas.units.graph._custom_derivatives import (
    closed_jaxpr_of,
    is_differentiable,
    is_inexact,
    is_var,
    jaxprs_of_custom,
    operands,
)

# Primitives that only call a jaxpr, and the parameter that holds it.
CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
    "call": "call_jaxpr",
    "remat2": "jaxpr", "checkpoint": "jaxpr", "remat": "jaxpr", "composite": "jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}  # fmt: skip
# Those of them that define a derivative.
CUSTOM = frozenset(("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"))
# Loops and branches: the parameters that hold their jaxprs.
BODIES = {
    "scan": lambda params: (params["jaxpr"],),
    "while": lambda params: (params["cond_jaxpr"], params["body_jaxpr"]),
    "cond": lambda params: tuple(params["branches"]),
}
# Cheap primitives (index arithmetic) that are evaluated while tracing if operands are constants.
FOLDED = frozenset((
    "add", "sub", "mul", "neg", "div", "rem", "floor", "lt", "le", "gt", "ge", "eq", "ne",
    "and", "or", "not", "select_n", "max", "min", "iota", "reshape", "convert_element_type",
    "squeeze", "concatenate", "broadcast_in_dim", "slice", "transpose", "clamp",
    "expand_dims", "rev",
))  # fmt: skip
KNOWN_SIZE = 2**14


class Value(NamedTuple):
    """An array of the graph.

    Attributes:
      id: Unique number.
      shape: Shape of the array.
      first: Node of index 0 along axis 0; the nodes of the axes are consecutive.
    """

    id: int
    shape: tuple[int, ...]
    first: int

    def nodes(self, axis: int) -> np.ndarray:
        """(shape[axis],) int64, the nodes of one axis."""
        start = self.first + sum(self.shape[:axis])
        return np.arange(start, start + self.shape[axis])

    def all_nodes(self) -> np.ndarray:
        """(sum(shape),) int64, the nodes of all axes."""
        return np.arange(self.first, self.first + sum(self.shape))


class Op(NamedTuple):
    """One primitive.

    Attributes:
      name: Name of the primitive.
      bind: Applies the primitive with given parameters.
      as_traced: Applies the traced equation as it is; returns a list of results.
      params: Parameters of the primitive.
      ins, outs: Operands and results.
      bodies: Graphs of a loop, of branches, or of a function with its derivative.
      factors: A virtual value with one axis for each factor of the axes that a reshape or a grouped
        convolution splits or merges; None for other primitives.
      scope: Name stack, for messages.
    """

    name: str
    bind: Callable[..., Any]
    as_traced: Callable[..., list]
    params: dict[str, Any]
    ins: tuple[Value, ...]
    outs: tuple[Value, ...]
    bodies: tuple["Graph", ...]
    factors: Value | None
    scope: str


class Graph(NamedTuple):
    """Primitives in topological order.

    Attributes:
      ins, outs: Inputs and outputs.
      ops: The primitives.
      constants: `{id of a value: array}`, of literals and of arrays that the function closes over.
      known: `{id of a value: numpy array}`, of small constants and of what is computed from them.
    """

    ins: tuple[Value, ...]
    outs: tuple[Value, ...]
    ops: tuple[Op, ...]
    constants: dict[int, Any]
    known: dict[int, np.ndarray]


class Trace(NamedTuple):
    """A traced function.

    Attributes:
      graph: Its inputs are the leaves of the variables, then those of the other inputs.
      paths: Paths of the leaves of the variables.
      size: Number of nodes.
      out_tree: Structure of the output.
      updates: `{id of an output: the leaf of the variables that it replaces}`.
    """

    graph: Graph
    paths: tuple[str, ...]
    size: int
    out_tree: Any
    updates: Mapping[int, Value]


def trace(
    apply_fn: Callable[..., Any], variables: Any, *inputs: Any, updates: bool = False
) -> Trace:
    """Traces `apply_fn(variables, *inputs)`.

    Args:
      apply_fn: The function.
      variables: A pytree of arrays or shapes.
      *inputs: Arrays or shapes.
      updates: Whether the function returns `(outputs, new values of some of the variables)`.

    Raises:
      UserError: If an updated value is not a leaf of the variables, or has another shape.
    """
    closed, out = jax.make_jaxpr(apply_fn, return_shape=True)(variables, *inputs)
    ids, nodes = itertools.count(), itertools.count()

    def value(shape: tuple[int, ...]) -> Value:
        first = next(nodes)
        for _ in range(sum(shape) - 1):
            next(nodes)
        return Value(next(ids), tuple(int(n) for n in shape), first)

    graph = _graph(closed, value)
    paths = tuple(tree.leaves_by_path(variables))
    tied = {}
    if updates:
        leaves = dict(zip(paths, graph.ins, strict=False))
        first = len(jax.tree.leaves(out[0]))
        for out_value, name in zip(graph.outs[first:], tree.leaves_by_path(out[1]), strict=True):
            if name not in leaves or leaves[name].shape != out_value.shape:
                raise UserError("updates", name, "a leaf of the variables, of its shape")
            tied[out_value.id] = leaves[name]
    return Trace(graph, paths, next(nodes), jax.tree.structure(out), tied)


def all_ops(graph: Graph) -> Iterator[Op]:
    """Yields the primitives of a graph and its subgraphs."""
    for op in graph.ops:
        yield op
        for body in op.bodies:
            yield from all_ops(body)


def all_graphs(graph: Graph) -> Iterator[Graph]:
    """Yields a graph and its subgraphs."""
    yield graph
    for op in graph.ops:
        for body in op.bodies:
            yield from all_graphs(body)


def _graph(
    closed: Any, value: Callable[[tuple[int, ...]], Value], inline_custom: bool = False
) -> Graph:
    """Converts a jaxpr; `inline_custom` also inlines functions with custom derivatives."""
    ops: list[Op] = []
    constants: dict[int, Any] = {}
    known: dict[int, np.ndarray] = {}

    def constant(x: Any) -> Value:
        new = value(np.shape(x))
        constants[new.id] = x
        if not isinstance(x, jax.core.Tracer) and _numeric(x) and np.size(x) <= KNOWN_SIZE:
            known[new.id] = np.asarray(x)
        return new

    def walk(jaxpr: Any, consts: Any, args: list[Value], scope: str) -> list[Value]:
        env = dict(zip(jaxpr.constvars, map(constant, consts), strict=True))
        env |= dict(zip(jaxpr.invars, args, strict=True))

        def read(atom: Any) -> Value:
            return constant(atom.val) if isinstance(atom, jex.Literal) else env[atom]

        for eqn in jaxpr.eqns:
            name, here = eqn.primitive.name, scope + str(eqn.source_info.name_stack)
            inner = eqn.params.get(CALLS.get(name, ""))
            if inner is None or (name in CUSTOM and not inline_custom and is_differentiable(eqn)):
                ins = [read(atom) for atom in (operands(eqn) if inner else eqn.invars)]
                outs = [value(getattr(var.aval, "shape", ())) for var in eqn.outvars]
                ops.append(_op(eqn, tuple(ins), tuple(outs), here, value, inline_custom))
                _fold(ops[-1], known)
            else:
                bare = getattr(inner, "jaxpr", inner)
                ins = [read(atom) for atom in eqn.invars]
                outs = walk(bare, getattr(inner, "consts", ()), ins, here)
            env |= dict(zip(eqn.outvars, outs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    args = [value(var.aval.shape) for var in closed.jaxpr.invars]
    outs = walk(closed.jaxpr, closed.consts, args, "")
    return Graph(tuple(args), tuple(outs), tuple(ops), constants, known)


def _op(
    eqn: Any,
    ins: tuple[Value, ...],
    outs: tuple[Value, ...],
    scope: str,
    value: Callable[[tuple[int, ...]], Value],
    inline_custom: bool,
) -> Op:
    name, params = eqn.primitive.name, dict(eqn.params)
    inner = BODIES[name](params) if name in BODIES else ()
    bodies = tuple(_graph(jaxpr, value, inline_custom) for jaxpr in inner)
    if name in CUSTOM:
        bodies = tuple(_graph(jaxpr, value, inline_custom=True) for jaxpr in jaxprs_of_custom(eqn))
        at = [i for i, var in enumerate(operands(eqn)) if is_inexact(var)]
        params = {"differentiable": at}
    sizes = FACTORS[name](ins, outs, params) if name in FACTORS else None
    factors = None if sizes is None else value(sizes)

    def as_traced(*args: Any) -> list:
        variables = {var: x for var, x in zip(eqn.invars, args, strict=True) if is_var(var)}
        return jex.jaxpr_as_fun(closed_jaxpr_of(eqn))(*(variables[var] for var in operands(eqn)))

    return Op(name, eqn.primitive.bind, as_traced, params, ins, outs, bodies, factors, scope)


def _numeric(x: Any) -> bool:
    return np.issubdtype(getattr(x, "dtype", np.asarray(x).dtype), np.number) or (
        getattr(x, "dtype", None) == np.bool_ or isinstance(x, bool)
    )


def _fold(op: Op, known: dict[int, np.ndarray]) -> None:
    """Evaluates a cheap primitive of known operands; adds the result to `known` in place."""
    if op.name not in FOLDED or not all(x.id in known for x in op.ins):
        return
    (out,) = op.outs
    args = [known[x.id] for x in op.ins]
    if op.name == "broadcast_in_dim" and args[0].size == 1:
        known[out.id] = np.broadcast_to(args[0].reshape(()), out.shape)  # a view without memory
    elif math.prod(out.shape) <= KNOWN_SIZE:
        with jax.ensure_compile_time_eval():
            known[out.id] = np.asarray(op.bind(*map(jnp.asarray, args), **op.params))


def reshape_factors(old: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...] | None:
    """Returns the sizes of the coarsest axes that refine both shapes, or None if there are none.

    `(2, 12)` and `(6, 4)` are both refined by `(2, 3, 4)`; `(2, 3)` and `(3, 2)` have no common
    refinement. Axes of size 1 are left out.
    """
    if 0 in old or 0 in new:
        return None
    ends = {int(n) for shape in (old, new) for n in np.cumprod(shape[::-1], dtype=np.int64)}
    bounds = sorted(ends | {1})
    if any(b % a for a, b in itertools.pairwise(bounds)):
        return None
    return tuple(b // a for a, b in itertools.pairwise(bounds))[::-1]


def _reshape(ins: tuple[Value, ...], outs: tuple[Value, ...], params: dict) -> Any:
    return reshape_factors(ins[0].shape, outs[0].shape)


def _grouped_conv(ins: tuple[Value, ...], outs: tuple[Value, ...], params: dict) -> Any:
    """Returns (groups, input channels per group, output channels per group)."""
    groups, kernel = params["feature_group_count"], params["dimension_numbers"].rhs_spec
    shape = ins[1].shape
    return groups, shape[kernel[1]], shape[kernel[0]] // groups


FACTORS = {"reshape": _reshape, "conv_general_dilated": _grouped_conv}
