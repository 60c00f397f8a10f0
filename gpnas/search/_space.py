"""Search spaces: functions that sample, mutate, encode and price architectures."""

import functools
import itertools
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from gpnas.errors import UserError

Rng = np.random.Generator
_LISTED = 100_000  # architectures, up to which strategies may hold a whole space in memory


class Space(NamedTuple):
    """A set of architectures, as functions; an architecture is hashable data.

    Attributes:
      sample: `rng → architecture`, uniform where that can be.
      mutate: `(architecture, rng) → architecture`, another one if there is one.
      neighbours: `architecture → architectures` that are one change away, in a fixed order.
      encode: `architecture → (features,) float64`.
      check: `architecture → None`; raises `UserError` for one outside the space.
      everything: All architectures in a fixed order; None where they cannot be listed.
      cost: `architecture → {name: number}` of what is known without training.
      build: `architecture → flax.linen.Module`; None where there is nothing to train.
      moves: Mutations of one kind by name, `(architecture, rng) → architecture or None`: those that
        "grow" and that "cut", where the space knows them.
      inherit: `(parent, child, variables, fresh, images) → (variables, free)`: what a child begins
        with, from its parent's variables and fresh ones of its own; free is bool, () each, of the
        params' structure: False where a weight is its parent's and nothing about it has changed.
        None where children begin afresh.
    """

    sample: Callable[[Rng], Any]
    mutate: Callable[[Any, Rng], Any]
    neighbours: Callable[[Any], list[Any]]
    encode: Callable[[Any], np.ndarray]
    check: Callable[[Any], None]
    everything: Callable[[], Iterator[Hashable]] | None = None
    cost: Callable[[Any], Mapping[str, float]] = lambda architecture: {}
    build: Callable[[Any], Any] | None = None
    moves: Mapping[str, Callable[[Any, Rng], Any]] = MappingProxyType({})
    inherit: Callable[..., tuple[Any, Any]] | None = None


def choices(
    options: Sequence[Sequence[str]],
    cost: Callable[[Any], Mapping[str, float]] = lambda architecture: {},
    build: Callable[[Any], Any] | None = None,
) -> Space:
    """The space of independent choices; an architecture is a tuple of one option each.

    Args:
      options: Options of each choice; one or more, all different.
      cost, build: As for `Space`.

    Returns:
      A space whose code of an architecture is one-hot, choice by choice; it can be listed if it
      has no more than 100,000 architectures.

    Raises:
      UserError: If a choice has no option, or one twice.
    """
    _check_options(options)
    places = [{option: i for i, option in enumerate(row)} for row in options]
    starts = np.cumsum([0, *map(len, options)])
    movable = [at for at, row in enumerate(options) if len(row) > 1]
    count = math.prod(map(len, options))
    everything = (lambda: itertools.product(*options)) if count <= _LISTED else None

    def sample(rng: Rng) -> tuple[str, ...]:
        return tuple(row[int(rng.integers(len(row)))] for row in options)

    def swap(architecture: tuple[str, ...], at: int, option: str) -> tuple[str, ...]:
        return (*architecture[:at], option, *architecture[at + 1 :])

    def mutate(architecture: tuple[str, ...], rng: Rng) -> tuple[str, ...]:
        if not movable:
            return architecture
        at = movable[int(rng.integers(len(movable)))]
        here = places[at][architecture[at]]
        other = (here + 1 + int(rng.integers(len(options[at]) - 1))) % len(options[at])
        return swap(architecture, at, options[at][other])

    def neighbours(architecture: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [
            swap(architecture, at, option)
            for at, row in enumerate(options)
            for option in row
            if option != architecture[at]
        ]

    def encode(architecture: tuple[str, ...]) -> np.ndarray:
        code = np.zeros(starts[-1])
        code[[starts[i] + places[i][option] for i, option in enumerate(architecture)]] = 1
        return code

    check = functools.partial(_check_choices, options)
    return Space(sample, mutate, neighbours, encode, check, everything, cost, build)


def _check_options(options: Sequence[Sequence[str]]) -> None:
    for row in options:
        if not row or len(set(row)) < len(row):
            raise UserError("options", tuple(row), "one or more, all different")


def _check_choices(options: Sequence[Sequence[str]], architecture: tuple[str, ...]) -> None:
    if len(architecture) != len(options):
        raise UserError("architecture", architecture, f"{len(options)} choices")
    for at, option in enumerate(architecture):
        if option not in options[at]:
            allowed = f"choice {at + 1} one of {', '.join(options[at])}"
            raise UserError("architecture", architecture, allowed)


def size(space: Space) -> float:
    """Number of architectures; inf where they cannot be listed."""
    return math.inf if space.everything is None else sum(1 for _ in space.everything())


def encoded(space: Space, architectures: Sequence[Any]) -> np.ndarray:
    """(architectures, features) float64; of one or more."""
    return np.stack([space.encode(architecture) for architecture in architectures])


def only(space: Space, architectures: Sequence[Any]) -> Space:
    """A space with all but these architectures taken out.

    Args:
      space: With more than these.
      architectures: Two or more of it, all different.
    """
    kept = set(architectures)

    def sample(rng: Rng) -> Any:
        return architectures[int(rng.integers(len(architectures)))]

    def neighbours(architecture: Any) -> list[Any]:
        return [other for other in space.neighbours(architecture) if other in kept]

    def mutate(architecture: Any, rng: Rng) -> Any:
        near = neighbours(architecture)
        if not near:  # an island: anything else
            near = [other for other in architectures if other != architecture]
        return near[int(rng.integers(len(near)))]

    def check(architecture: Any) -> None:
        space.check(architecture)
        if architecture not in kept:
            raise UserError("architecture", architecture, "one that is in the table")

    return space._replace(
        sample=sample, mutate=mutate, neighbours=neighbours, check=check,
        everything=lambda: iter(architectures),
    )  # fmt: skip
