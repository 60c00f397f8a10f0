"""Inheritance of a parent's trained variables by its child.

Children of exact operators compute the same function as their parent in inference mode: outgoing
weights of new filters and of a new concatenation are 0, an inserted layer is the identity, and a
new addition has weight 0.

References:
  Elsken et al. 2019, LEMONADE (arXiv:1804.09081), section 3.1.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.masks import tree
from gpnas.search.morphable import _channels as channels
from gpnas.search.morphable._architecture import WEIGHTED, Architecture, load_architecture, ties
from gpnas.search.morphable._channels import NEW, OUTPUT, Inputs
from gpnas.search.morphable._network import EPSILON, Morphable, name_of

# (name of the leaf, its fresh value, the parent's or None) → (value, bool of what is inherited)
_Move = Callable[[str, np.ndarray, np.ndarray | None], tuple[np.ndarray, np.ndarray]]


def inherit(
    parent: Any,
    child: Any,
    variables: Any,
    fresh: Any,
    images: jax.Array | None = None,
) -> tuple[Any, Any]:
    """Returns a child's initial variables and which of them are inherited.

    Layers are matched by id. Pruned layers keep the filters with the largest Euclidean norms. A
    kernel with no inherited input keeps its new initialization.

    Args:
      parent, child: Architectures.
      variables: The parent's params and batch_stats.
      fresh: The child's newly initialized variables, from `Morphable(child).init`.
      images: (batch, height, width, channels). Batch norms of inserted layers take their statistics
        from these, so that the layers are also the identity in training, as far as the batch has
        the parent's running statistics. Without images they are the identity in inference mode
        only.

    Returns:
      `(variables, inherited)`: with the structures of `fresh` and of its params; `inherited` is
      bool, True for each inherited entry.
    """
    old, new = load_architecture(parent), load_architecture(child)
    known = {tree.path_name(p): np.asarray(x) for p, x in _leaves(variables)}
    found = channels.match(old, new, _filters(old, new, known))
    moves = _moves(new, found)
    values, kept = [], []
    for path, leaf in _leaves(fresh):
        _, layer, *rest = tree.path_name(path).split("/")
        move = moves.get(layer, _addition_weight)
        value, same = move("/".join(rest), np.asarray(leaf), known.get(tree.path_name(path)))
        values.append(jnp.asarray(value))
        kept.append(jnp.asarray(np.broadcast_to(same, value.shape)))
    structure = jax.tree.structure(fresh)
    begun = jax.tree.unflatten(structure, values)
    if images is not None:
        begun = _calibrate(new, begun, found.picks, images)
    return begun, jax.tree.unflatten(structure, kept)["params"]


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(tree)[0]


_WEIGHTS = {"conv": "conv/kernel", "separable": "pointwise/kernel", "dense": "dense/kernel"}


def _filters(
    old: Architecture, new: Architecture, known: dict[str, np.ndarray]
) -> dict[int, np.ndarray]:
    """By id of shared layers with weights: the parent's index of each filter, or `NEW`."""
    squares = {}
    for layer in old.layers:
        if layer.op in WEIGHTED:
            kernel = known[f"params/{name_of(layer.id)}/{_WEIGHTS[layer.op]}"]
            squares[layer.id] = np.square(kernel, dtype=np.float64).reshape(-1, layer.width).sum(0)
    for group in ties(old):  # filters whose outputs are added are kept or pruned together
        squares |= dict.fromkeys(group, np.sum([squares[i] for i in group], axis=0))
    both = channels.shared(old, new)
    widths = {layer.id: layer.width for layer in new.layers if layer.op in WEIGHTED}
    return {i: _chosen(squares[i], widths[i]) for i in widths if i in both}


def _chosen(squares: np.ndarray, width: int) -> np.ndarray:
    before = len(squares)
    if width <= before:
        return np.sort(np.argsort(-squares, kind="stable")[:width])
    return np.append(np.arange(before), np.full(width - before, NEW))


def _moves(new: Architecture, found: channels.Channels) -> dict[str, _Move]:
    """Returns the weight transfer of each layer with weights and of the classifier, by name."""
    names = {layer.id: name_of(layer.id) for layer in new.layers} | {OUTPUT: "output"}
    copied = {names[i]: _copied(found.inputs[i], f) for i, f in found.filters.items()}
    return copied | {names[i]: _init_identity(picks) for i, picks in found.picks.items()}


def _addition_weight(
    name: str, fresh: np.ndarray, old: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Transfers the weight of an addition."""
    del name
    return (np.zeros_like(fresh), np.array(False)) if old is None else (old, np.array(True))


def _copied(inputs: Inputs, filters: np.ndarray) -> _Move:
    """Transfers a layer that parent and child have."""

    def move(name: str, fresh: np.ndarray, old: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        depthwise = name.startswith("depthwise")
        rows, columns = inputs.rows, inputs.channels if depthwise else filters
        lost = name.endswith("kernel") and (rows == NEW).all()
        if old is None or lost or old.shape[:-2] != fresh.shape[:-2]:
            return fresh, np.array(False)
        if depthwise or not name.endswith("kernel"):
            return np.where(columns == NEW, fresh, old[..., columns]), columns != NEW
        scaled = np.where(rows == NEW, 0, inputs.share)[:, None] * old[..., rows, :]
        value = np.where(columns == NEW, fresh, scaled[..., columns]).astype(fresh.dtype)
        return value, ((rows != NEW) & (inputs.share == 1))[:, None] & (columns != NEW)

    return move


def _init_identity(picks: np.ndarray) -> _Move:
    """Initializes an inserted layer: its first filters pass on the picked channels."""
    first = slice(len(picks))
    constants = {"scale": np.sqrt(1 + EPSILON), "var": 1.0}  # else 0: bias, mean

    def move(name: str, fresh: np.ndarray, old: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        del old
        value = fresh.copy()
        middle = tuple(side // 2 for side in fresh.shape[:-2])
        if name.startswith("depthwise"):
            value[:] = 0
            value[middle] = 1
        elif name.endswith("kernel"):
            value[..., first] = 0
            value[(*middle, picks, np.arange(len(picks)))] = 1
        else:
            value[first] = constants.get(name.split("/")[-1], 0)
        return value, np.array(False)

    return move


def _calibrate(
    new: Architecture, variables: Any, picks: dict[int, np.ndarray], images: jax.Array
) -> Any:
    """Sets statistics of inserted batch norms from their inputs, and γ and β that undo them."""
    inserted = {name_of(row.id): row.id for row in new.layers if row.kernel and row.id in picks}
    if not inserted:
        return variables
    observe = functools.partial(
        Morphable(new).apply, mutable="intermediates",
        capture_intermediates=lambda own, _: own.name == "norm" and own.path[0] in inserted,
    )  # fmt: skip
    state = jax.jit(observe)(variables, images)[1]
    values: dict[str, np.ndarray] = {}
    for name, layer in inserted.items():
        outputs = state["intermediates"][name]["norm"]["__call__"][0]  # still the input
        seen = np.asarray(outputs, np.float64)[..., : len(picks[layer])]
        mean, var = seen.mean((0, 1, 2)), seen.var((0, 1, 2))
        values |= {f"params/{name}/norm/bias": mean, f"batch_stats/{name}/norm/mean": mean}
        values[f"params/{name}/norm/scale"] = np.sqrt(var + EPSILON)
        values[f"batch_stats/{name}/norm/var"] = var

    def leaf(path: tuple, value: jax.Array) -> jax.Array:
        found = values.get(tree.path_name(path), ())
        return value.at[: len(found)].set(found) if len(found) else value

    return jax.tree.map_with_path(leaf, variables)
