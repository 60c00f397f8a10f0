"""LEMONADE's operators on architectures; `inherit` is their counterpart for weights.

Each is `(architecture, rng) → architecture`, or None if it does not apply. Exact operators can
preserve the function of the network; approximate ones cannot.

References:
  Elsken et al. 2019, LEMONADE (arXiv:1804.09081), sections 3.1 and 3.2.
"""

import functools
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from gpnas.errors import UserError
from gpnas.search.morphable._architecture import (
    IMAGE,
    WEIGHTED,
    Architecture,
    Layer,
    check_architecture,
    load_architecture,
    positive,
    shapes,
    ties,
)

Rng = np.random.Generator
#: `(architecture, rng) → architecture`; None if the operator does not apply.
Operator = Callable[[Any, Rng], Architecture | None]

FACTORS = (1.25, 1.5, 2.0)  # growth factors of widths
PARTS = (2, 4)  # one half or one quarter of the filters is pruned
_JOINS = ("add", "concat")


def insert_conv(architecture: Any, rng: Rng) -> Architecture | None:
    """Inserts a 3 × 3 convolution of the same width after a non-negative output."""
    return _insert(architecture, rng, "conv", 3, kernel=3)


def insert_dense(architecture: Any, rng: Rng) -> Architecture | None:
    """Inserts a dense layer of the same width after a non-negative output without positions."""
    return _insert(architecture, rng, "dense", 1, kernel=0)


def widen(architecture: Any, rng: Rng) -> Architecture | None:
    """Widens a layer, and the layers that additions tie to it, by 1.25, 1.5 or 2."""
    factor = FACTORS[int(rng.integers(len(FACTORS)))]
    return _resize(architecture, rng, lambda width: math.ceil(width * factor))


def skip_add(architecture: Any, rng: Rng) -> Architecture | None:
    """Adds an earlier output of the same shape to a layer's output, with weight 0."""
    return _skip(architecture, rng, "add")


def skip_concat(architecture: Any, rng: Rng) -> Architecture | None:
    """Concatenates an earlier output of the same height and width to a layer's output."""
    return _skip(architecture, rng, "concat")


def remove_layer(architecture: Any, rng: Rng) -> Architecture | None:
    """Removes a convolution or a dense layer."""
    return _remove(architecture, rng, WEIGHTED)


def remove_skip(architecture: Any, rng: Rng) -> Architecture | None:
    """Removes an addition or a concatenation; its first input remains."""
    return _remove(architecture, rng, _JOINS)


def prune(architecture: Any, rng: Rng) -> Architecture | None:
    """Prunes a half or a quarter of the filters of a layer and of the layers in its `ties`."""
    part = PARTS[int(rng.integers(len(PARTS)))]
    return _resize(architecture, rng, lambda width: width - width // part)


def separate(architecture: Any, rng: Rng) -> Architecture | None:
    """Replaces a convolution by a depthwise separable convolution."""
    own = load_architecture(architecture)
    wide = [layer for layer in own.layers if layer.op == "conv" and layer.kernel > 1]
    rows = [layer._replace(op="separable") for layer in wide]
    return _any([functools.partial(_replaced, own, [row]) for row in rows], rng)


#: Network morphisms, which preserve the function of the network.
EXACT: dict[str, Operator] = {
    "insert_conv": insert_conv,
    "insert_dense": insert_dense,
    "widen": widen,
    "skip_add": skip_add,
    "skip_concat": skip_concat,
}
#: Operators that shrink networks and preserve their function approximately.
APPROXIMATE: dict[str, Operator] = {
    "remove_layer": remove_layer,
    "remove_skip": remove_skip,
    "prune": prune,
    "separate": separate,
}


def change(
    architecture: Any, rng: Rng, operators: Sequence[Operator], count: int = 1
) -> Architecture | None:
    """Applies operators one after the other, each drawn from those that apply.

    Args:
      architecture: Start.
      rng: Random generator.
      operators: Operators to draw from.
      count: Number of operators to apply.

    Returns:
      The changed architecture; None if at some step no operator applies.
    """
    found: Architecture | None = load_architecture(architecture)
    for _ in range(count):
        tries = (operators[i](found, rng) for i in rng.permutation(len(operators)))
        found = next((child for child in tries if child is not None), None)
        if found is None:
            break
    return found


def _any(children: Sequence[Callable[[], Architecture]], rng: Rng) -> Architecture | None:
    """Returns a random valid child, or None."""
    for i in rng.permutation(len(children)):
        child = children[i]()
        try:
            check_architecture(child)
        except UserError:
            continue
        return child
    return None


def _insert(architecture: Any, rng: Rng, op: str, axes: int, kernel: int) -> Architecture | None:
    """Inserts a layer after a non-negative output with the given number of axes."""
    own, sizes = load_architecture(architecture), shapes(architecture)
    places = [i for i in positive(own) if len(sizes[i]) == axes]
    layers = [Layer(own.next_id, op, (i,), sizes[i][-1], kernel) for i in places]
    return _any([functools.partial(_behind, own, layer) for layer in layers], rng)


def _remove(architecture: Any, rng: Rng, ops: Collection[str]) -> Architecture | None:
    own = load_architecture(architecture)
    gone = [layer for layer in own.layers if layer.op in ops]
    return _any([functools.partial(_without, own, layer) for layer in gone], rng)


def _behind(own: Architecture, new: Layer) -> Architecture:
    """Inserts a layer after its first input; users of that input use the new layer instead."""
    place = new.inputs[0]
    at = [layer.id for layer in own.layers].index(place) + 1
    later = [
        layer._replace(inputs=tuple(new.id if i == place else i for i in layer.inputs))
        for layer in own.layers[at:]
    ]
    return own._replace(layers=(*own.layers[:at], new, *later), next_id=own.next_id + 1)


def _replaced(own: Architecture, new: Sequence[Layer]) -> Architecture:
    rows = {layer.id: layer for layer in new}
    return own._replace(layers=tuple(rows.get(layer.id, layer) for layer in own.layers))


def _resize(architecture: Any, rng: Rng, resize: Callable[[int], int]) -> Architecture | None:
    own = load_architecture(architecture)
    rows = {layer.id: layer for layer in own.layers}
    changed = [
        [rows[i]._replace(width=resize(rows[i].width)) for i in group]
        for group in ties(own)
        if resize(rows[group[0]].width) != rows[group[0]].width
    ]
    return _any([functools.partial(_replaced, own, group) for group in changed], rng)


def _skip(architecture: Any, rng: Rng, op: str) -> Architecture | None:
    own = load_architecture(architecture)
    ids = [IMAGE, *(layer.id for layer in own.layers)]
    there = {layer.inputs for layer in own.layers if layer.op == op}
    pairs = [(b, a) for at, b in enumerate(ids) for a in ids[:at] if (b, a) not in there]
    layers = [Layer(own.next_id, op, pair) for pair in pairs]
    return _any([functools.partial(_behind, own, layer) for layer in layers], rng)


def _without(own: Architecture, gone: Layer) -> Architecture:
    """Removes a layer, joins of an output with itself, and layers without use."""
    instead, kept = {gone.id: gone.inputs[0]}, []
    for layer in own.layers:
        inputs = tuple(instead.get(i, i) for i in layer.inputs)
        if layer.op in _JOINS and inputs[0] == inputs[1]:
            instead[layer.id] = inputs[0]
        elif layer.id != gone.id:
            kept.append(layer._replace(inputs=inputs))
    last = own.layers[-1].id
    needed = {instead.get(last, last)}
    for layer in reversed(kept):
        if layer.id in needed:
            needed.update(layer.inputs)
    return own._replace(layers=tuple(layer for layer in kept if layer.id in needed))
