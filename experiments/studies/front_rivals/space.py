"""Networks of other widths: their costs, random ones, and a search space of them."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpnas import units
from gpnas.masks import apply, tree
from gpnas.models import ConvNet, Model, linen, resolve_conv
from gpnas.search import Space

Widths = tuple[int, ...]
_PATIENCE = 100  # mutations drawn until one is in the space
_LEAST = 2  # units of a layer: `units.discover` finds none along an axis of length 1
_SPREAD = 6  # maximum ratio of the layers' width fractions in random networks
_CLOSE = 0.05  # MACs of a pruned network may be below a limit by this fraction


class WidthCosts(NamedTuple):
    """The costs of a network as a function of its widths.

    Attributes:
      whole: Widths of the whole network, layer by layer.
      macs: `widths → MACs for one example`.
    """

    whole: Widths
    macs: Callable[[Widths], int]


def width_costs(model: Model, variables: Any, shape: Sequence[int]) -> WidthCosts:
    """Traces a network once for the costs of its widths.

    Args:
      model: The whole network.
      variables: Its variables or their shapes.
      shape: Shape of one input example.
    """
    one = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    costs = units.cost_model(model.infer, variables, one)

    @functools.cache
    def macs(widths: Widths) -> int:
        pairs = zip(costs.sizes.items(), widths, strict=True)
        return round(units.total_cost(costs, {n: np.arange(k) < w for (n, k), w in pairs}, "macs"))

    return WidthCosts(tuple(costs.sizes.values()), macs)


def scaled(whole: Widths, fraction: float) -> Widths:
    """Scales all widths equally."""
    return tuple(max(round(fraction * width), 1) for width in whole)


def uniform_fraction(costs: WidthCosts, level: float, widths: Widths | None = None) -> float:
    """Returns the largest fraction of all widths whose MACs are within a fraction of the whole
    network's.

    Args:
      costs: Costs of the whole network.
      level: Fraction of its MACs.
      widths: Widths to be scaled; by default the whole network's.
    """
    widths, limit = widths or costs.whole, level * costs.macs(costs.whole)
    return max(float(f) for f in np.linspace(0, 1, 1001) if costs.macs(scaled(widths, f)) <= limit)


def random_widths(costs: WidthCosts, limit: float, rng: np.random.Generator) -> Widths:
    """Draws random widths whose MACs are within a limit and to which no further unit fits.

    Proportions of the layers are drawn log-uniformly; the largest network with them is filled up
    by units of random layers.
    """
    proportions = _SPREAD ** rng.uniform(-1, 0, len(costs.whole))
    scales = np.geomspace(1 / _SPREAD, _SPREAD, 400)
    drawn = [_bounded(costs, scale * proportions * costs.whole) for scale in scales]
    found = max((one for one in drawn if costs.macs(one) <= limit), key=costs.macs)
    while True:
        wider = [_bounded(costs, found + unit) for unit in np.eye(len(found))]
        fitting = [one for one in wider if one != found and costs.macs(one) <= limit]
        if not fitting:
            return found
        found = fitting[int(rng.integers(len(fitting)))]


def _bounded(costs: WidthCosts, wanted: Any) -> Widths:
    pairs = zip(np.rint(wanted), costs.whole, strict=True)
    return tuple(int(np.clip(width, _LEAST, most)) for width, most in pairs)


def next_kept(known: Mapping[int, float], limit: float) -> int | None:
    """Returns the number of channels that the next run keeps, to meet a limit of MACs.

    MACs are taken as a power of the number of channels, through the closest known numbers above
    and below the limit; with none below, through the two closest ones above, the exponent being at
    least 1; with one alone, MACs grow as its square, as for uniform widths.

    Args:
      known: MACs by number of kept channels; those of the whole network exceed the limit.
      limit: The limit.

    Returns:
      The number; None if known MACs are within 5 % below the limit, or if two successive numbers
      lie on both sides of it.
    """
    above, *others = sorted(kept for kept, macs in known.items() if macs > limit)
    below = max((kept for kept, macs in known.items() if kept < above and macs <= limit), default=0)
    close = any((1 - _CLOSE) * limit <= macs <= limit for macs in known.values())
    if close or above - below < 2:
        return None
    power = 2.0
    if below or others:
        other = below or others[0]
        power = math.log(known[other] / known[above], other / above)
    goal = (1 - _CLOSE / 2) * limit / known[above]
    wanted = above * goal ** (1 / (power if below else max(power, 1.0)))
    return int(np.clip(round(wanted), below + 1, above - 1))


def widths(
    image: tuple[int, int, int],
    classes: int,
    levels: tuple[float, ...] = (0.5, 0.25, 0.12, 0.06),
    sampled: tuple[float, ...] = (),
) -> Space:
    """The small convolutional network in all widths, for searches of small networks.

    A sampled network has random widths and the cost of one of the levels. A mutation multiplies the
    widths of one or two layers by factors between 1/2 and 2; the move "grow" by factors above 1,
    "cut" by factors below 1.

    Args:
      image: (height, width, channels).
      classes: Number of classes.
      levels: Decreasing target costs, as fractions of the whole network's MACs. Mutations stay
        between half the last and the first.
      sampled: Costs of sampled networks; by default the levels.
    """

    def build(own: Any) -> ConvNet:
        return ConvNet(classes, own, conv=resolve_conv("auto"))

    shapes = functools.cache(lambda own: _shapes(linen(build(own)), image))
    whole = linen(build(ConvNet.widths))
    costs = width_costs(whole, shapes(ConvNet.widths), image)
    limits = [level * costs.macs(costs.whole) for level in levels]
    initial = [level * costs.macs(costs.whole) for level in sampled or levels]

    def cost(own: Widths) -> dict[str, float]:
        return {"macs": costs.macs(own), "log_macs": math.log2(costs.macs(own))}

    def sample(rng: np.random.Generator) -> Widths:
        return random_widths(costs, initial[int(rng.integers(len(initial)))], rng)

    move = functools.partial(_scaled_layers, costs, (limits[-1] / 2, limits[0]))

    def mutate(own: Widths, rng: np.random.Generator) -> Widths:
        return move((-1, 1), own, rng) or sample(rng)

    def neighbours(own: Widths) -> list[Widths]:
        near = [_bounded(costs, own + d * unit) for unit in np.eye(len(own)) for d in (-1, 1)]
        return [one for one in near if one != own]

    def encode(own: Widths) -> np.ndarray:
        return np.log2(np.array(own, np.float64))

    def inherited(parent: Widths, child: Widths, variables: Any, fresh: Any, images: Any) -> Any:
        del images
        return inherit(linen(build(parent)), linen(build(child)), variables, fresh, image)

    moves = {"grow": functools.partial(move, (0, 1)), "cut": functools.partial(move, (-1, 0))}
    return Space(
        sample, mutate, neighbours, encode, lambda own: None, None, cost, build, moves, inherited
    )


def _scaled_layers(
    costs: WidthCosts, bounds: tuple[float, float], powers: tuple[int, int], own: Widths,
    rng: np.random.Generator,
) -> Widths | None:  # fmt: skip
    """Multiplies the widths of one or two layers by powers of 2; None if no result is within bounds
    of MACs."""
    for _ in range(_PATIENCE):
        factors = np.ones(len(own))
        layers = rng.choice(len(own), int(rng.integers(1, 3)), replace=False)
        factors[layers] = 2 ** rng.uniform(*powers, len(layers))
        child = _bounded(costs, factors * own)
        if child != own and bounds[0] <= costs.macs(child) <= bounds[1]:
            return child
    return None


def _shapes(model: Model, image: Sequence[int]) -> Any:
    one = jax.ShapeDtypeStruct((1, *image), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), one)


def discover(model: Model, variables: Any, image: Sequence[int]) -> units.UnitGroups:
    """Returns the units of a network on images."""
    batch = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    return units.discover(model.infer, variables, batch)


def inherit(
    parent: Model, child: Model, variables: Any, fresh: Any, image: Sequence[int]
) -> tuple[Any, Any]:
    """Returns the initial variables of a child with other widths (see `Space.inherit`).

    A narrower layer keeps the units with the largest incoming weights. Additional units have newly
    initialized incoming weights and zero outgoing weights.

    Args:
      parent, child: The networks.
      variables: The parent's variables.
      fresh: The child's newly initialized variables.
      image: (height, width, channels).
    """
    old, new = discover(parent, variables, image), discover(child, fresh, image)
    before = tree.leaves_by_path(variables)
    wanted = {group.name: group.size for group in new.groups}
    kept = {name: _largest(before, name) < size for name, size in wanted.items()}
    moved = units.resize(variables, variables, old, kept, wanted)
    known = {name: np.arange(size) < kept[name].sum() for name, size in wanted.items()}
    masks = units.weight_masks(new, known, moved)
    begun = jax.tree.map(np.where, masks, moved, fresh)
    own = units.groups_in_params(new)
    params = apply(units.outgoing_masks(own, known, begun["params"]), begun["params"])

    def free(path: tuple, leaf: jax.Array) -> jax.Array:
        there = before[f"params/{tree.path_name(path)}"]
        return jnp.asarray(not np.array_equal(there, leaf))

    return {**begun, "params": params}, jax.tree.map_with_path(free, params)


def _largest(leaves: Mapping[str, Any], group: str) -> np.ndarray:
    """Ranks units by the norm of their incoming kernels; 0 is the largest."""
    path, axis = group.rsplit(":", 1)
    squares = np.square(np.moveaxis(np.asarray(leaves[path]), int(axis), 0))
    norms = squares.reshape(len(squares), -1).sum(1)
    return np.argsort(np.argsort(-norms, kind="stable"))
