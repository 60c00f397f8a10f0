"""A traced function as a flat list of steps over values, each axis of which has nodes.

Calls inside the jaxpr (jit, remat) are written out in place, so that every step is one primitive;
loops, branches and functions with a derivative of their own keep programs of their own. A node is
one index along one axis of one value: all that follows axes through the program works on node
numbers.
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
from gpnas.masks.tree import path_name

# Primitives that only call a jaxpr, and the parameter that holds it.
CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
    "call": "call_jaxpr",
    "remat2": "jaxpr", "checkpoint": "jaxpr", "remat": "jaxpr", "composite": "jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}  # fmt: skip
# Those of them that bring a derivative of their own.
CUSTOM = frozenset(("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"))
# Loops and branches: the parameters that hold their jaxprs.
BODIES = {
    "scan": lambda params: (params["jaxpr"],),
    "while": lambda params: (params["cond_jaxpr"], params["body_jaxpr"]),
    "cond": lambda params: tuple(params["branches"]),
}
# Small arithmetic that is done while tracing where all it needs is known: indices, mostly.
FOLDED = frozenset((
    "add", "sub", "mul", "neg", "div", "rem", "floor", "lt", "le", "gt", "ge", "eq", "ne",
    "and", "or", "not", "select_n", "max", "min", "iota", "reshape", "convert_element_type",
    "squeeze", "concatenate", "broadcast_in_dim", "slice", "transpose", "clamp",
    "expand_dims", "rev",
))  # fmt: skip
KNOWN_SIZE = 2**14


class Value(NamedTuple):
    """An array of the program.

    Attributes:
      id: Its number.
      shape: Its shape.
      first: Node of index 0 along axis 0; the nodes of all axes follow each other.
    """

    id: int
    shape: tuple[int, ...]
    first: int

    def nodes(self, axis: int) -> np.ndarray:
        """(shape[axis],) int64, the nodes of one axis."""
        start = self.first + sum(self.shape[:axis])
        return np.arange(start, start + self.shape[axis])


class Step(NamedTuple):
    """One primitive.

    Attributes:
      name: Of the primitive.
      bind: Applies it, with parameters.
      alone: Applies it as it was traced, whatever its parameters hold: a list of results.
      params: Its parameters.
      ins, outs: Values.
      bodies: Programs of a loop or of branches.
      factors: A value that is not there, with an axis for each factor of the axes that a reshape or
        a grouped convolution splits or merges.
      where: Names of the scopes it is in, for messages.
    """

    name: str
    bind: Callable[..., Any]
    alone: Callable[..., list]
    params: dict[str, Any]
    ins: tuple[Value, ...]
    outs: tuple[Value, ...]
    bodies: tuple["Program", ...]
    factors: Value | None
    where: str


class Program(NamedTuple):
    """Steps in order.

    Attributes:
      ins, outs: Values.
      steps: In an order in which they can be done.
      constants: Array by the id of its value: literals, and arrays the function closes over.
      known: The same and what follows from them, as numpy arrays, as far as small.
    """

    ins: tuple[Value, ...]
    outs: tuple[Value, ...]
    steps: tuple[Step, ...]
    constants: dict[int, Any]
    known: dict[int, np.ndarray]


class Trace(NamedTuple):
    """A program and what its inputs are.

    Attributes:
      program: Inputs are the leaves of the variables, then those of the other inputs.
      paths: Paths of the variables' leaves.
      size: Number of nodes.
      out_tree: Structure of the function's output.
      updates: `{id of a result: the leaf of the variables that it is the new value of}`.
    """

    program: Program
    paths: tuple[str, ...]
    size: int
    out_tree: Any
    updates: Mapping[int, Value]


def trace(
    apply_fn: Callable[..., Any], variables: Any, *inputs: Any, updates: bool = False
) -> Trace:
    """Traces `apply_fn(variables, *inputs)`; arrays or their shapes will do.

    With `updates` it returns `(outputs, new values of some of the variables)`.

    Returns:
      The trace, with every value numbered.
    """
    closed, out = jax.make_jaxpr(apply_fn, return_shape=True)(variables, *inputs)
    ids, nodes = itertools.count(), itertools.count()

    def value(shape: tuple[int, ...]) -> Value:
        first = next(nodes)
        for _ in range(sum(shape) - 1):
            next(nodes)
        return Value(next(ids), tuple(int(n) for n in shape), first)

    program = _program(closed, value)
    paths = [path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(variables)[0]]
    tied = {}
    if updates:
        leaves = dict(zip(paths, program.ins, strict=False))
        first = len(jax.tree.leaves(out[0]))
        for out_value, (path, _) in zip(
            program.outs[first:], jax.tree_util.tree_flatten_with_path(out[1])[0], strict=True
        ):
            name = path_name(path)
            if name not in leaves or leaves[name].shape != out_value.shape:
                raise UserError("updates", name, "a leaf of the variables, of its shape")
            tied[out_value.id] = leaves[name]
    return Trace(program, tuple(paths), next(nodes), jax.tree.structure(out), tied)


def all_steps(program: Program) -> Iterator[Step]:
    """Steps of a program and of the programs in it."""
    for step in program.steps:
        yield step
        for body in step.bodies:
            yield from all_steps(body)


def all_programs(program: Program) -> Iterator[Program]:
    """A program and the programs in it."""
    yield program
    for step in program.steps:
        for body in step.bodies:
            yield from all_programs(body)


def _program(
    closed: Any, value: Callable[[tuple[int, ...]], Value], plain: bool = False
) -> Program:
    """A jaxpr as a program; `plain` writes custom derivatives out, too."""
    steps: list[Step] = []
    constants: dict[int, Any] = {}
    known: dict[int, np.ndarray] = {}

    def constant(x: Any) -> Value:
        new = value(np.shape(x))
        constants[new.id] = x
        if not isinstance(x, jax.core.Tracer) and _numeric(x) and np.size(x) <= KNOWN_SIZE:
            known[new.id] = np.asarray(x)
        return new

    def walk(jaxpr: Any, consts: Any, args: list[Value], where: str) -> list[Value]:
        env = dict(zip(jaxpr.constvars, map(constant, consts), strict=True))
        env |= dict(zip(jaxpr.invars, args, strict=True))

        def read(atom: Any) -> Value:
            return constant(atom.val) if isinstance(atom, jex.Literal) else env[atom]

        for eqn in jaxpr.eqns:
            name, here = eqn.primitive.name, where + str(eqn.source_info.name_stack)
            inner = eqn.params.get(CALLS.get(name, ""))
            if inner is None or (name in CUSTOM and not plain and _differentiable(eqn)):
                ins = [read(atom) for atom in (_variables(eqn) if inner else eqn.invars)]
                outs = [value(getattr(var.aval, "shape", ())) for var in eqn.outvars]
                steps.append(_step(eqn, tuple(ins), tuple(outs), here, value, plain))
                _fold(steps[-1], known)
            else:
                bare = getattr(inner, "jaxpr", inner)
                ins = [read(atom) for atom in eqn.invars]
                outs = walk(bare, getattr(inner, "consts", ()), ins, here)
            env |= dict(zip(eqn.outvars, outs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    args = [value(var.aval.shape) for var in closed.jaxpr.invars]
    outs = walk(closed.jaxpr, closed.consts, args, "")
    return Program(tuple(args), tuple(outs), tuple(steps), constants, known)


def _step(
    eqn: Any,
    ins: tuple[Value, ...],
    outs: tuple[Value, ...],
    where: str,
    value: Callable[[tuple[int, ...]], Value],
    plain: bool,
) -> Step:
    name, params = eqn.primitive.name, dict(eqn.params)
    inner = BODIES[name](params) if name in BODIES else ()
    bodies = tuple(_program(jaxpr, value, plain) for jaxpr in inner)
    if name in CUSTOM:
        bodies = tuple(_program(jaxpr, value, plain=True) for jaxpr in _with_derivative(eqn))
        at = [i for i, var in enumerate(_variables(eqn)) if _inexact(var)]
        params = {"differentiable": at}
    sizes = FACTORS[name](ins, outs, params) if name in FACTORS else None
    factors = None if sizes is None else value(sizes)

    def alone(*args: Any) -> list:
        variables = {var: x for var, x in zip(eqn.invars, args, strict=True) if _is_var(var)}
        return jex.jaxpr_as_fun(_jaxpr_of(eqn))(*(variables[var] for var in _variables(eqn)))

    return Step(name, eqn.primitive.bind, alone, params, ins, outs, bodies, factors, where)


def _is_var(atom: Any) -> bool:
    return not isinstance(atom, jex.Literal)


def _variables(eqn: Any) -> list:
    """Operands of an equation that are variables, each once."""
    return list(dict.fromkeys(filter(_is_var, eqn.invars)))


def _inexact(var: Any) -> bool:
    return jnp.issubdtype(getattr(var.aval, "dtype", np.int32), jnp.inexact)


def _differentiable(eqn: Any) -> bool:
    """Whether a derivative can be asked for: it has real operands, and nothing but real results."""
    return any(map(_inexact, _variables(eqn))) and all(map(_inexact, eqn.outvars))


def _jaxpr_of(eqn: Any) -> Any:
    """A jaxpr of one equation."""
    variables, name = _variables(eqn), eqn.primitive.name
    names = ("",) * len(variables), ("",) * len(eqn.outvars)
    info = jex.DebugInfo("jit", name, *names)
    jaxpr = jex.Jaxpr([], variables, eqn.outvars, [eqn], eqn.effects, debug_info=info)
    return jex.ClosedJaxpr(jaxpr, ())


def _with_derivative(eqn: Any) -> tuple[Any, Any]:
    """Jaxprs of a function with a derivative rule: of itself, and of what the rule gives.

    Forwards that is `(operands, tangents) → (results, tangents)`, backwards `(operands, cotangents)
    → cotangents`, tangents and cotangents of operands for real ones only.
    """
    closed, variables = _jaxpr_of(eqn), _variables(eqn)
    f = jex.jaxpr_as_fun(closed)
    at = [i for i, var in enumerate(variables) if _inexact(var)]

    def real(args: list) -> Callable[..., list]:
        return lambda *xs: f(
            *(dict(zip(at, xs, strict=True)).get(i, x) for i, x in enumerate(args))
        )

    def forwards(args: list, tangents: list) -> Any:
        return jax.jvp(real(args), [args[i] for i in at], tangents)

    def backwards(args: list, cotangents: list) -> Any:
        return jax.vjp(real(args), *(args[i] for i in at))[1](cotangents)

    def shapes(of: Any) -> list:
        return [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in of]

    jvp = eqn.primitive.name == "custom_jvp_call"
    second = shapes([variables[i] for i in at]) if jvp else shapes(eqn.outvars)
    rule = jax.make_jaxpr(forwards if jvp else backwards)(shapes(variables), second)
    return closed, rule


def _numeric(x: Any) -> bool:
    return np.issubdtype(getattr(x, "dtype", np.asarray(x).dtype), np.number) or (
        getattr(x, "dtype", None) == np.bool_ or isinstance(x, bool)
    )


def _fold(step: Step, known: dict[int, np.ndarray]) -> None:
    """Adds what a step comes to, if all that goes in is known and it is cheap."""
    if step.name not in FOLDED or not all(x.id in known for x in step.ins):
        return
    (out,) = step.outs
    args = [known[x.id] for x in step.ins]
    if step.name == "broadcast_in_dim" and args[0].size == 1:
        known[out.id] = np.broadcast_to(args[0].reshape(()), out.shape)  # takes no memory
    elif math.prod(out.shape) <= KNOWN_SIZE:
        with jax.ensure_compile_time_eval():
            known[out.id] = np.asarray(step.bind(*map(jnp.asarray, args), **step.params))


def reshape_factors(old: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...] | None:
    """Sizes of the finest axes of which both shapes are made, or None if there are none.

    `(2, 12)` and `(6, 4)` are both made of `(2, 3, 4)`; `(2, 3)` and `(3, 2)` of nothing smaller.
    Axes of size 1 are left out.
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
    """Groups, input channels of one, output channels of one."""
    groups, kernel = params["feature_group_count"], params["dimension_numbers"].rhs_spec
    shape = ins[1].shape
    return groups, shape[kernel[1]], shape[kernel[0]] // groups


FACTORS = {"reshape": _reshape, "conv_general_dilated": _grouped_conv}
