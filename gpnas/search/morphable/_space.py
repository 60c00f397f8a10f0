"""The space of networks that grow and shrink, and the two moves of BULK & CUT."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from gpnas._settings import Count, Counts, Positive
from gpnas.errors import UserError, check_choice
from gpnas.models import resolve_conv
from gpnas.search._space import Space
from gpnas.search.morphable._architecture import (
    IMAGE,
    OPS,
    WEIGHTED,
    Architecture,
    Layer,
    architecture_macs,
    architecture_params,
    check_architecture,
    load_architecture,
)
from gpnas.search.morphable._lineage import descend, network
from gpnas.search.morphable._operators import APPROXIMATE, EXACT, Operator, Rng, change

MOST = 3  # operators per child
_TRIES = 100


def grow(architecture: Any, rng: Rng, most_params: float = math.inf) -> Architecture | None:
    """Applies one to three exact operators: a child with the same function and more parameters.

    Args:
      architecture: Parent.
      rng: Random generator.
      most_params: Maximum number of parameters of a child.

    Returns:
      The child; None if none was found.

    References:
      Izquierdo et al. 2021, BULK & CUT (arXiv:2105.01015).
    """
    return _child(architecture, rng, [*EXACT.values()], lambda n: n <= most_params)


def cut(architecture: Any, rng: Rng) -> Architecture | None:
    """Applies one to three approximate operators: a child with fewer parameters, or None.

    References:
      Izquierdo et al. 2021, BULK & CUT (arXiv:2105.01015).
    """
    before = architecture_params(architecture)
    return _child(architecture, rng, [*APPROXIMATE.values()], lambda n: n < before)


def _child(
    architecture: Any, rng: Rng, operators: Sequence[Operator], fits: Callable[[int], bool]
) -> Architecture | None:
    for _ in range(_TRIES):
        child = change(architecture, rng, operators, int(rng.integers(1, MOST + 1)))
        if child is not None and fits(architecture_params(child)):
            return child
    return None


def morphable(
    image: tuple[int, int, int],
    classes: int,
    op: str = "conv",
    widths: Counts = (8, 12, 16),
    pools: Count = 2,
    most_params: Positive = math.inf,
    conv: Literal["auto", "im2col", "xla"] = "auto",
) -> Space:
    """The space of small networks that change by the operators of LEMONADE.

    A sampled network has one or two layers before the first pool and after each; the width doubles
    with each pool. A mutation applies one to three operators, exact or not, or draws a new sample
    if none applies. Neighbours are one child per operator, with a fixed seed. Costs are params,
    macs and log_params (base 10). The encoding has the logarithms of params, macs, mean and largest
    width, and the number of layers of each op.

    Args:
      image, classes: (height, width, channels), and number of classes.
      op: Op of sampled layers: "conv", "separable", or "dense" (without pools).
      widths: Widths of the first layer of a sampled network.
      pools: Number of pools in a sampled network.
      most_params: Maximum number of parameters of a network.
      conv: Convolution of the built networks; "auto": the faster one on this machine.

    Raises:
      UserError: If there is no such network, or none with at most `most_params`.
    """
    stages = 1 if op == "dense" else pools + 1
    draw = functools.partial(_small, image, classes, op)
    smallest = _smallest(draw, op, widths, stages, most_params)
    operators = [*(EXACT | APPROXIMATE).values()]
    check = functools.partial(_check_member, tuple(image), classes, most_params)

    def fits(count: int) -> bool:
        return count <= most_params

    def sample(rng: Rng) -> Architecture:
        for _ in range(_TRIES):
            depths = [int(n) for n in rng.integers(1, 3, stages)]
            found = draw(widths[int(rng.integers(len(widths)))], depths)
            if fits(architecture_params(found)):
                return found
        return smallest

    def mutate(architecture: Any, rng: Rng) -> Architecture:
        return _child(architecture, rng, operators, fits) or sample(rng)

    def neighbours(architecture: Any) -> list[Architecture]:
        rng = np.random.default_rng(0)
        children = [operator(architecture, rng) for operator in operators]
        return [
            child for child in children if child is not None and fits(architecture_params(child))
        ]

    grown = functools.partial(grow, most_params=most_params)
    build = functools.partial(network, conv=resolve_conv(conv))
    space = Space(sample, mutate, neighbours, encode, check, None, cost, build)
    return space._replace(moves={"grow": grown, "cut": cut}, inherit=descend)


def _smallest(
    draw: Callable[[int, Sequence[int]], Architecture],
    op: str,
    widths: Sequence[int],
    stages: int,
    most_params: float,
) -> Architecture:
    """Returns the smallest sampled network; raises `UserError` if there is none."""
    check_choice("op", op, sorted(WEIGHTED))
    if not widths:
        raise UserError("widths", widths, "one or more")
    found = draw(min(widths), [1] * stages)
    check_architecture(found)
    if architecture_params(found) > most_params:
        raise UserError("most_params", most_params, f"{architecture_params(found)} or more")
    return found


def _check_member(
    image: tuple[int, ...], classes: int, most_params: float, architecture: Any
) -> None:
    """Checks that an architecture belongs to a space."""
    check_architecture(architecture)
    own = load_architecture(architecture)
    if (own.image, own.classes) != (image, classes):
        raise UserError("image and classes", (own.image, own.classes), f"{image} and {classes}")
    params = architecture_params(own)
    if params > most_params:
        raise UserError("architecture", params, f"{most_params} params at most")


def _small(
    image: tuple[int, int, int], classes: int, op: str, width: int, depths: Sequence[int]
) -> Architecture:
    """A chain of stages, separated by pools; each stage doubles the width."""
    rows: list[tuple[str, int, int]] = []
    for stage, depth in enumerate(depths):
        rows += [("pool", 0, 0)] * bool(stage)
        rows += [(op, width * 2**stage, 3 * OPS[op].kernel)] * depth
    layers = [Layer(i, o, (i - 1,), w, k) for i, (o, w, k) in enumerate(rows, start=IMAGE + 1)]
    return Architecture(image, tuple(layers), classes, len(layers) + 1)


def encode(architecture: Any) -> np.ndarray:
    """Encodes an architecture as described in `morphable`; (4 + ops,) float64."""
    own = load_architecture(architecture)
    widths = [layer.width for layer in own.layers if layer.op in WEIGHTED]
    sizes = [
        architecture_params(own),
        architecture_macs(own),
        sum(widths) / len(widths),
        max(widths),
    ]
    ops = [layer.op for layer in own.layers]
    return np.array([*np.log10(sizes), *(ops.count(op) for op in OPS)], np.float64)


def cost(architecture: Any) -> dict[str, float]:
    """Returns the costs known without training."""
    count = architecture_params(architecture)
    return {
        "params": count,
        "macs": architecture_macs(architecture),
        "log_params": math.log10(count),
    }
