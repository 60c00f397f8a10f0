"""What a jaxpr does: its equations, those of inner jaxprs included."""

from collections.abc import Iterator
from typing import Any

import jax


def equations(jaxpr: Any, times: int = 1) -> Iterator[tuple[Any, int]]:
    """`(equation, how often it runs)` of a jaxpr; bodies of `while` count once.

    Args:
      jaxpr: Closed or not.
      times: How often the jaxpr itself runs.
    """
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation, times
        turns = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from equations(inner, times * turns)


def primitives(jaxpr: Any) -> set[str]:
    """Names of all primitives in a jaxpr."""
    return {equation.primitive.name for equation, _ in equations(jaxpr)}


def reductions(jaxpr: Any, size: int) -> int:
    """Reductions over operands of `size` elements or more, those in branches included."""
    return sum(
        times
        for equation, times in equations(jaxpr)
        if "reduce" in equation.primitive.name and equation.invars[0].aval.size >= size
    )
