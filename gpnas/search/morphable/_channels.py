"""Matches the channels of a child with its parent's, from the two architectures alone.

Every output channel of every layer gets a number. Channels of parent and child with equal numbers
are the same function of the image if the child has the parent's weights; `NEW` marks channels that
the parent does not have. A layer that only one of the two has passes on the numbers of its input:
an inserted layer is the identity, and a removed layer is treated as the identity.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from gpnas.search.morphable._architecture import (
    IMAGE,
    WEIGHTED,
    Architecture,
    Layer,
    Shape,
    load_architecture,
    shapes,
)

NEW = -1
OUTPUT = -1  # the id of the classifier


class Inputs(NamedTuple):
    """Origin of the inputs of a layer that parent and child have.

    Attributes:
      rows: (inputs,) int, the parent's index of each input, or `NEW`; flattened for a dense layer.
      share: (inputs,) float32, 1 / number of the child's inputs with the same origin.
      channels: (channels,) int, the same per channel.
    """

    rows: np.ndarray
    share: np.ndarray
    channels: np.ndarray


class Channels(NamedTuple):
    """Correspondence of a child's channels to its parent's.

    Attributes:
      filters: By id of shared layers with weights, and `OUTPUT`: (width,) int, the parent's index
        of each filter, or `NEW`.
      inputs: By the same ids.
      picks: By id of layers with weights that only the child has: the input channels that its first
        filters pass on.
    """

    filters: dict[int, np.ndarray]
    inputs: dict[int, Inputs]
    picks: dict[int, np.ndarray]


def shared(parent: Architecture, child: Architecture) -> frozenset[int]:
    """Returns the ids of shared layers; a convolution may have become a separable one."""
    kinds = {layer.id: _kind(layer) for layer in parent.layers}
    return frozenset(layer.id for layer in child.layers if kinds.get(layer.id) == _kind(layer))


def _kind(layer: Layer) -> str:
    return "conv" if layer.op == "separable" else layer.op


def match(parent: Any, child: Any, filters: Mapping[int, np.ndarray]) -> Channels:
    """Matches the channels of parent and child from the image to the classes.

    Args:
      parent, child: Architectures.
      filters: As in `Channels`, without `OUTPUT`.
    """
    old, new = load_architecture(parent), load_architecture(child)
    both = shared(old, new)
    numbers: dict[tuple[int, ...], int] = {}
    before = _number(old, both, {}, numbers, _unchanged)
    after = _number(new, both, filters, numbers, _handed_on)
    old_sizes, new_sizes = shapes(old), shapes(new)
    ends = {i: layer.inputs[0] for i, layer in _rows(old).items()}
    inputs, picks = {}, {}
    for i, layer in _rows(new).items():
        come, shape = after[layer.inputs[0]], new_sizes[layer.inputs[0]]
        if i in filters or i == OUTPUT:
            then = before[ends[i]], old_sizes[ends[i]]
            inputs[i] = _inputs(layer.op == "dense", *then, come, shape)
        elif layer.op in WEIGHTED:
            picks[i] = _picks(_seen(layer, come, shape), layer.width)
    return Channels({**filters, OUTPUT: np.arange(new.classes)}, inputs, picks)


def _rows(own: Architecture) -> dict[int, Layer]:
    last = Layer(OUTPUT, "output", (own.layers[-1].id,), own.classes)
    return {layer.id: layer for layer in (*own.layers, last)}


def _number(
    own: Architecture,
    both: Collection[int],
    filters: Mapping[int, np.ndarray],
    numbers: dict[tuple[int, ...], int],
    hand_on: Callable[[np.ndarray, int], np.ndarray],
) -> dict[int, np.ndarray]:
    """Numbers (channels,) int the outputs of each layer; extends `numbers`, which both networks
    share."""

    def number(*key: int, parts: tuple[int, ...]) -> int:
        return NEW if NEW in parts else numbers.setdefault((*key, *parts), len(numbers))

    def of(layer: Layer) -> Any:
        come, width = [found[i] for i in layer.inputs], sizes[layer.id][-1]
        if layer.op == "pool":
            return come[0]
        if layer.id not in both:
            if layer.op in WEIGHTED:
                return hand_on(_seen(layer, come[0], sizes[layer.inputs[0]]), width)
            return _padded(come[0], width)
        if layer.op == "add":
            return [number(layer.id, parts=pair) for pair in zip(*come, strict=True)]
        if layer.op == "concat":
            return [number(layer.id, k, parts=(c,)) for k, part in enumerate(come) for c in part]
        return [number(layer.id, parts=(i,)) for i in filters.get(layer.id, range(width))]

    sizes = shapes(own)
    found = {IMAGE: np.array([number(IMAGE, parts=(i,)) for i in range(own.image[-1])])}
    for layer in own.layers:
        found[layer.id] = np.array(of(layer), int)
    return found


def _seen(layer: Layer, numbers: np.ndarray, shape: Shape) -> np.ndarray:
    """Returns the numbers that can be passed on; none by a dense layer that mixes positions."""
    return numbers[:0] if layer.op == "dense" and len(shape) > 1 else numbers


def _padded(numbers: np.ndarray, width: int) -> np.ndarray:
    return np.append(numbers, np.full(width - len(numbers), NEW))


def _unchanged(numbers: np.ndarray, width: int) -> np.ndarray:
    """Numbers behind a removed layer: those of its input, if the widths agree."""
    return numbers if len(numbers) == width else np.full(width, NEW)


def _handed_on(numbers: np.ndarray, width: int) -> np.ndarray:
    """Numbers behind an inserted layer; it and its input may have become wider."""
    return _padded(numbers[_picks(numbers, width)], width)


def _picks(numbers: np.ndarray, width: int) -> np.ndarray:
    """Picks up to `width` input channels: first each one of the parent's in order, then others."""
    values, first = np.unique(numbers, return_index=True)
    known = np.sort(first[values != NEW])
    others = np.setdiff1d(np.arange(len(numbers)), known)
    return np.append(known, others)[:width]


def _inputs(flat: bool, before: np.ndarray, old: Shape, after: np.ndarray, new: Shape) -> Inputs:
    places = {number: i for i, number in enumerate(before) if number != NEW}
    channels = np.array([places.get(number, NEW) for number in after])
    _, which, counts = np.unique(after, return_inverse=True, return_counts=True)
    share = np.float32(1) / counts[which].astype(np.float32)
    if not flat:
        return Inputs(channels, share, channels)
    positions = math.prod(new[:-1])
    same = channels if old[:-1] == new[:-1] else np.full_like(channels, NEW)
    steps = np.arange(positions)[:, None] * len(before)
    rows = np.where(same == NEW, NEW, steps + same).reshape(-1)
    return Inputs(rows, np.tile(share, positions), channels)
