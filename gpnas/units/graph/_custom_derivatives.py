"""Jaxprs of single equations, and of functions with custom derivatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex


def is_var(atom: Any) -> bool:
    """Returns whether an operand is a variable, not a literal."""
    return not isinstance(atom, jex.Literal)


def operands(eqn: Any) -> list:
    """Returns the operands of an equation that are variables, without duplicates."""
    return list(dict.fromkeys(filter(is_var, eqn.invars)))


def is_inexact(var: Any) -> bool:
    """Returns whether a variable has a floating-point or complex dtype."""
    return jnp.issubdtype(getattr(var.aval, "dtype", np.int32), jnp.inexact)


def is_differentiable(eqn: Any) -> bool:
    """Returns whether an equation has an inexact operand and only inexact results."""
    return any(map(is_inexact, operands(eqn))) and all(map(is_inexact, eqn.outvars))


def closed_jaxpr_of(eqn: Any) -> Any:
    """Returns a closed jaxpr of one equation."""
    variables, name = operands(eqn), eqn.primitive.name
    names = ("",) * len(variables), ("",) * len(eqn.outvars)
    info = jex.DebugInfo("jit", name, *names)
    jaxpr = jex.Jaxpr([], variables, eqn.outvars, [eqn], eqn.effects, debug_info=info)
    return jex.ClosedJaxpr(jaxpr, ())


def jaxprs_of_custom(eqn: Any) -> tuple[Any, Any]:
    """Returns the jaxprs of a function with a custom derivative and of that derivative.

    The derivative is `(operands, tangents) → (results, tangents)` for a JVP, and `(operands,
    cotangents) → cotangents` for a VJP. Only inexact operands have tangents and cotangents.
    """
    closed, variables = closed_jaxpr_of(eqn), operands(eqn)
    f = jex.jaxpr_as_fun(closed)
    at = [i for i, var in enumerate(variables) if is_inexact(var)]

    def of_inexact(args: list) -> Callable[..., list]:
        return lambda *xs: f(
            *(dict(zip(at, xs, strict=True)).get(i, x) for i, x in enumerate(args))
        )

    def forwards(args: list, tangents: list) -> Any:
        return jax.jvp(of_inexact(args), [args[i] for i in at], tangents)

    def backwards(args: list, cotangents: list) -> Any:
        return jax.vjp(of_inexact(args), *(args[i] for i in at))[1](cotangents)

    def shapes(of: Any) -> list:
        return [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in of]

    jvp = eqn.primitive.name == "custom_jvp_call"
    second = shapes([variables[i] for i in at]) if jvp else shapes(eqn.outvars)
    rule = jax.make_jaxpr(forwards if jvp else backwards)(shapes(variables), second)
    return closed, rule
