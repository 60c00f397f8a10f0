"""Search spaces: functions that sample, mutate, encode and cost architectures."""

import functools
import itertools
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from gpnas.errors import UserError

Rng = np.random.Generator
_LISTED = 100_000  # architectures; a strategy may hold a space up to this size in memory


class Space(NamedTuple):
    """A set of architectures, given by functions; an architecture is hashable data.

    Attributes:
      sample: `rng → architecture`, uniform where possible.
      mutate: `(architecture, rng) → architecture`, a different one if one exists.
      neighbours: `architecture → architectures` at distance one, in a fixed order.
      encode: `architecture → (features,) float64`.
      check: `architecture → None`; raises `UserError` for one outside the space.
      enumerate_all: All architectures in a fixed order; None where they cannot be listed.
      cost: `architecture → {name: number}`, costs known without training.
      build: `architecture → flax.linen.Module`; None if nothing is trained.
      moves: Mutations by kind, `(architecture, rng) → architecture or None`: "grow" and "cut", if
        the space has them.
      inherit: `(parent, child, variables, fresh, images) → (variables, free)`: initial variables of
        a child from its parent's variables and its own `fresh` ones. `free` has the params'
        structure, each leaf () bool: False where a leaf is inherited unchanged. None if children do
        not inherit.
    """

    sample: Callable[[Rng], Any]
    mutate: Callable[[Any, Rng], Any]
    neighbours: Callable[[Any], list[Any]]
    encode: Callable[[Any], np.ndarray]
    check: Callable[[Any], None]
    enumerate_all: Callable[[], Iterator[Hashable]] | None = None
    cost: Callable[[Any], Mapping[str, float]] = lambda architecture: {}
    build: Callable[[Any], Any] | None = None
    moves: Mapping[str, Callable[[Any, Rng], Any]] = MappingProxyType({})
    inherit: Callable[..., tuple[Any, Any]] | None = None


def choices(
    options: Sequence[Sequence[str]],
    cost: Callable[[Any], Mapping[str, float]] = lambda architecture: {},
    build: Callable[[Any], Any] | None = None,
) -> Space:
    """The space of independent choices; an architecture is a tuple with one option per choice.

    Args:
      options: Options of each choice; one or more, distinct.
      cost, build: As for `Space`.

    Returns:
      A space that encodes an architecture as one one-hot vector per choice. It can be listed if it
      has at most 100,000 architectures.

    Raises:
      UserError: If a choice has no option, or a duplicate one.
    """
    _check_options(options)
    places = [{option: i for i, option in enumerate(row)} for row in options]
    starts = np.cumsum([0, *map(len, options)])
    movable = [at for at, row in enumerate(options) if len(row) > 1]
    count = math.prod(map(len, options))
    enumerate_all = (lambda: itertools.product(*options)) if count <= _LISTED else None

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
    return Space(sample, mutate, neighbours, encode, check, enumerate_all, cost, build)


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
    """Returns the number of architectures; inf if they cannot be listed."""
    return math.inf if space.enumerate_all is None else sum(1 for _ in space.enumerate_all())


def encoded(space: Space, architectures: Sequence[Any]) -> np.ndarray:
    """Encodes one or more architectures; (architectures, features) float64."""
    return np.stack([space.encode(architecture) for architecture in architectures])


def only(space: Space, architectures: Sequence[Any]) -> Space:
    """Restricts a space to the given architectures.

    Args:
      space: A space that contains them.
      architectures: One or more distinct ones.

    Returns:
      The smaller space; its `check` raises UserError for another architecture.
    """
    kept = set(architectures)

    def sample(rng: Rng) -> Any:
        return architectures[int(rng.integers(len(architectures)))]

    def neighbours(architecture: Any) -> list[Any]:
        return [other for other in space.neighbours(architecture) if other in kept]

    def mutate(architecture: Any, rng: Rng) -> Any:
        near = neighbours(architecture)
        if not near:  # no neighbour: any other architecture, or the only one
            near = [other for other in architectures if other != architecture] or [architecture]
        return near[int(rng.integers(len(near)))]

    def check(architecture: Any) -> None:
        space.check(architecture)
        if architecture not in kept:
            raise UserError("architecture", architecture, "one that is in the table")

    return space._replace(
        sample=sample, mutate=mutate, neighbours=neighbours, check=check,
        enumerate_all=lambda: iter(architectures),
    )  # fmt: skip
