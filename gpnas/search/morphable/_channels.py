"""Matches the channels of a child with its parent's, from the two architectures alone.

Output channels of layers are labelled by integers that parent and child share. Channels with equal
labels are the same function of the image if the child has the parent's weights; `NEW` labels
channels that the parent does not have. A layer that only one of the two has passes on the labels of
its input: an inserted layer is the identity, and a removed layer is treated as the identity.
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
    labels: dict[tuple[int, ...], int] = {}
    before = _labels(old, both, {}, labels, _unchanged)
    after = _labels(new, both, filters, labels, _handed_on)
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


def _labels(
    own: Architecture,
    both: Collection[int],
    filters: Mapping[int, np.ndarray],
    labels: dict[tuple[int, ...], int],
    hand_on: Callable[[np.ndarray, int], np.ndarray],
) -> dict[int, np.ndarray]:
    """Returns the labels of each layer's outputs, (channels,) int; extends the known `labels`."""

    def label(*key: int, parts: tuple[int, ...]) -> int:
        return NEW if NEW in parts else labels.setdefault((*key, *parts), len(labels))

    def of(layer: Layer) -> Any:
        come, width = [found[i] for i in layer.inputs], sizes[layer.id][-1]
        if layer.op == "pool":
            return come[0]
        if layer.id not in both:
            if layer.op in WEIGHTED:
                return hand_on(_seen(layer, come[0], sizes[layer.inputs[0]]), width)
            return _padded(come[0], width)
        if layer.op == "add":
            return [label(layer.id, parts=pair) for pair in zip(*come, strict=True)]
        if layer.op == "concat":
            return [label(layer.id, k, parts=(c,)) for k, part in enumerate(come) for c in part]
        return [label(layer.id, parts=(i,)) for i in filters.get(layer.id, range(width))]

    sizes = shapes(own)
    found = {IMAGE: np.array([label(IMAGE, parts=(i,)) for i in range(own.image[-1])])}
    for layer in own.layers:
        found[layer.id] = np.array(of(layer), int)
    return found


def _seen(layer: Layer, labels: np.ndarray, shape: Shape) -> np.ndarray:
    """Returns the labels that a layer can pass on: none if it is dense and mixes positions."""
    return labels[:0] if layer.op == "dense" and len(shape) > 1 else labels


def _padded(labels: np.ndarray, width: int) -> np.ndarray:
    return np.append(labels, np.full(width - len(labels), NEW))


def _unchanged(labels: np.ndarray, width: int) -> np.ndarray:
    """Returns the labels after a removed layer: those of its input, if the widths agree."""
    return labels if len(labels) == width else np.full(width, NEW)


def _handed_on(labels: np.ndarray, width: int) -> np.ndarray:
    """Returns the labels after an inserted layer; it and its input may have been widened."""
    return _padded(labels[_picks(labels, width)], width)


def _picks(labels: np.ndarray, width: int) -> np.ndarray:
    """Returns the indices of up to `width` input channels: one per label in order, then others."""
    values, first = np.unique(labels, return_index=True)
    known = np.sort(first[values != NEW])
    others = np.setdiff1d(np.arange(len(labels)), known)
    return np.append(known, others)[:width]


def _inputs(flat: bool, before: np.ndarray, old: Shape, after: np.ndarray, new: Shape) -> Inputs:
    places = {label: i for i, label in enumerate(before) if label != NEW}
    channels = np.array([places.get(label, NEW) for label in after])
    _, which, counts = np.unique(after, return_inverse=True, return_counts=True)
    share = np.float32(1) / counts[which].astype(np.float32)
    if not flat:
        return Inputs(channels, share, channels)
    positions = math.prod(new[:-1])
    same = channels if old[:-1] == new[:-1] else np.full_like(channels, NEW)
    steps = np.arange(positions)[:, None] * len(before)
    rows = np.where(same == NEW, NEW, steps + same).reshape(-1)
    return Inputs(rows, np.tile(share, positions), channels)
