"""Architectures as data: a graph of layers with ids that children inherit from their parents.

Layers and architectures are named tuples. They equal the plain tuples read back from JSON; all
functions of this package accept both.
"""

import math
from typing import Any, NamedTuple

from gpnas.errors import UserError, explained

IMAGE = 0  # the id of the input image

Shape = tuple[int, ...]


class Layer(NamedTuple):
    """One node of the graph.

    Attributes:
      id: Positive; the same in all descendants.
      op: A key of `OPS`.
      inputs: Ids of earlier layers, or 0 for the image. "add" is (1 − λ) · first + λ · second, with
        λ learned from 0 on.
      width: Channels or neurons; 0 if determined by the inputs.
      kernel: Side of the convolution window, odd; 0 for other ops.
    """

    id: int
    op: str
    inputs: tuple[int, ...]
    width: int = 0
    kernel: int = 0


class Architecture(NamedTuple):
    """A network: its layers, then a mean over positions (if any) and a classifier.

    Attributes:
      image: (height, width, channels).
      layers: In topological order; all lead to the last.
      classes: Number of classes.
      next_id: Id of the next new layer. Ids are unique along a line of descent.
    """

    image: tuple[int, int, int]
    layers: tuple[Layer, ...]
    classes: int
    next_id: int


class Operation(NamedTuple):
    """Signature of an operation: number of inputs, fields it uses, extra parameters per unit."""

    inputs: int
    width: bool = False
    kernel: bool = False
    others: int = 0


OPS = {
    "conv": Operation(1, width=True, kernel=True, others=2),  # convolution, batch norm, ReLU
    "separable": Operation(1, width=True, kernel=True, others=2),  # depthwise and pointwise
    "dense": Operation(1, width=True, others=1),  # of the flattened input, then ReLU
    "add": Operation(2),
    "concat": Operation(2),
    "pool": Operation(1),  # maximum of 2 × 2; an odd last row or column is dropped
}
WEIGHTED = frozenset(name for name, op in OPS.items() if op.width)


def load_architecture(data: Any) -> Architecture:
    """Converts plain tuples to an `Architecture`.

    Raises:
      UserError: If the data have another structure.
    """
    allowed = "(image, layers of (id, op, inputs, width, kernel), classes, next id)"
    with explained("architecture", data, allowed, TypeError, ValueError):
        image, layers, classes, next_id = data
        rows = tuple(Layer(*row) for row in layers)
        named = tuple(row._replace(inputs=tuple(row.inputs)) for row in rows)
        own = Architecture(tuple(image), named, classes, next_id)
    return own


def shapes(architecture: Any) -> dict[int, Shape]:
    """Returns the output shape of each layer and of the image: (height, width, channels) or (n,).

    Raises:
      UserError: For a layer that does not fit its inputs.
    """
    own = load_architecture(architecture)
    found: dict[int, Shape] = {IMAGE: own.image}
    for layer in own.layers:
        found[layer.id] = _shape(layer, [found[i] for i in layer.inputs])
    return found


def _shape(layer: Layer, inputs: list[Shape]) -> Shape:
    *places, channels = inputs[0]
    if layer.op == "dense":
        return (layer.width,)
    if layer.op == "add":
        _need(len({*inputs}) == 1, layer, "inputs of one shape")
        return inputs[0]
    if layer.op == "concat":
        _need(len({shape[:-1] for shape in inputs}) == 1, layer, "inputs of one height and width")
        return (*places, sum(shape[-1] for shape in inputs))
    _need(len(places) == 2, layer, "an input with height and width")
    if layer.op == "pool":
        _need(min(places) > 1, layer, "an input of 2 × 2 or more")
        return (places[0] // 2, places[1] // 2, channels)
    return (*places, layer.width)


def check_architecture(architecture: Any) -> None:
    """Checks that a network can be built from an architecture.

    Raises:
      UserError: If it cannot.
    """
    own = load_architecture(architecture)
    numbers = [*own.image, own.classes, own.next_id]
    if len(own.image) != 3 or any(type(n) is not int or n < 1 for n in numbers):
        allowed = "whole numbers from 1: (height, width, channels), classes, next id"
        raise UserError("architecture", (own.image, own.classes, own.next_id), allowed)
    known = {IMAGE}
    for layer in own.layers:
        _check_layer(layer, known, own.next_id)
        known.add(layer.id)
    used = {own.layers[-1].id if own.layers else IMAGE}.union(*(row.inputs for row in own.layers))
    for layer in own.layers:
        _need(layer.id in used, layer, "a layer that leads to the last")
    if not any(layer.op in WEIGHTED for layer in own.layers):
        raise UserError("architecture", architecture, f"one of {sorted(WEIGHTED)} at least")
    shapes(own)


def _check_layer(layer: Layer, known: set[int], next_id: int) -> None:
    _need(type(layer.op) is str and layer.op in OPS, layer, f"one of {', '.join(OPS)}")
    op = OPS[layer.op]
    numbers = (layer.id, *layer.inputs, layer.width, layer.kernel)
    _need(all(type(n) is int for n in numbers), layer, "whole numbers")
    _need(layer.id not in known and 0 < layer.id < next_id, layer, f"a new id below {next_id}")
    _need(known.issuperset(layer.inputs), layer, "ids of earlier inputs")
    _need(len(layer.inputs) == op.inputs, layer, f"{op.inputs} inputs")
    _need(layer.width > 0 if op.width else layer.width == 0, layer, "a width where it has one")
    odd = layer.kernel > 0 and layer.kernel % 2 == 1
    _need(odd if op.kernel else layer.kernel == 0, layer, "an odd kernel where it has one")


def _need(fits: bool, layer: Layer, allowed: str) -> None:
    if not fits:
        raise UserError(f"layer {layer.id}", tuple(layer), allowed)


def architecture_params(architecture: Any) -> int:
    """Returns the number of parameters, including scales and offsets of batch norms."""
    own, sizes = load_architecture(architecture), shapes(architecture)
    count = sum(
        _weights(layer, sizes[layer.inputs[0]]) + OPS[layer.op].others * layer.width
        for layer in own.layers
    )
    factors = sum(layer.op == "add" for layer in own.layers)
    return count + factors + (sizes[own.layers[-1].id][-1] + 1) * own.classes


def architecture_macs(architecture: Any) -> int:
    """Returns the multiply-accumulates of convolutions and dense layers, for one image."""
    own, sizes = load_architecture(architecture), shapes(architecture)
    count = sum(
        _weights(layer, sizes[layer.inputs[0]]) * math.prod(sizes[layer.id][:-1])
        for layer in own.layers
    )
    return count + sizes[own.layers[-1].id][-1] * own.classes


def _weights(layer: Layer, shape: Shape) -> int:
    window, channels = layer.kernel**2, shape[-1]
    if layer.op == "separable":
        return window * channels + channels * layer.width
    if layer.op == "dense":
        return math.prod(shape) * layer.width
    return window * channels * layer.width


def positive(architecture: Any) -> list[int]:
    """Returns the ids of layers with non-negative outputs, which another ReLU does not change."""
    found: list[int] = []
    for layer in load_architecture(architecture).layers:
        passed = layer.op in ("pool", "concat") and {*layer.inputs} <= {*found}
        if layer.op in WEIGHTED or passed:
            found.append(layer.id)
    return found


def ties(architecture: Any) -> list[list[int]]:
    """Groups the ids of layers with weights whose widths must be equal because of additions.

    Layers tied to the image or to a concatenation are left out.
    """
    own = load_architecture(architecture)
    groups = {IMAGE: frozenset({IMAGE})}
    for layer in own.layers:
        tied = frozenset({layer.id})
        if layer.op in ("add", "pool"):
            tied = tied.union(*(groups[i] for i in layer.inputs))
        groups |= dict.fromkeys(tied, tied)
    ops = {IMAGE: "image"} | {layer.id: layer.op for layer in own.layers}
    free = [g for g in dict.fromkeys(groups.values()) if {ops[i] for i in g}.isdisjoint(_FIXED)]
    return [[i for i in sorted(group) if ops[i] in WEIGHTED] for group in free]


_FIXED = ("image", "concat")
