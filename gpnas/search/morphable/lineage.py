"""Networks with standard layer names, so that equal ones are compiled once.

An architecture's ids come from its ancestors; those of two networks of one shape may differ. The
network that is built has ids 1, 2, … in the order of its layers, and so have its variables.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.search.morphable.architecture import IMAGE, Architecture, load_architecture
from gpnas.search.morphable.inherit import inherit
from gpnas.search.morphable.network import Morphable, name_of


def standard(architecture: Any) -> Architecture:
    """The same network with ids 1, 2, … in the order of its layers."""
    own = load_architecture(architecture)
    ids = {IMAGE: IMAGE} | {layer.id: at for at, layer in enumerate(own.layers, start=1)}
    layers = tuple(
        layer._replace(id=ids[layer.id], inputs=tuple(ids[i] for i in layer.inputs))
        for layer in own.layers
    )
    return own._replace(layers=layers, next_id=len(layers) + 1)


def network(architecture: Any, conv: str = "xla") -> Morphable:
    """The module of an architecture, its layers named 1, 2, … in their order.

    Args:
      architecture: As `gpnas.search.morphable.architecture` has it, checked.
      conv: A key of `gpnas.models.CONVOLUTIONS`.
    """
    return Morphable(standard(architecture), conv=conv)


def descend(
    parent: Any, child: Any, variables: Any, fresh: Any, images: jax.Array | None = None
) -> tuple[Any, Any]:
    """A child's initial variables, and which of them are trained first: `inherit` for `network`s.

    Args:
      parent, child: Architectures.
      variables: Of the parent's `network`.
      fresh: Of the child's.
      images: As for `inherit`.

    Returns:
      `(variables, free)`: of the structure of `fresh`, and of that of its params, () bool: True for
      leaves in which anything is new or which have another shape than the parent's. If there is
      none, all are free.
    """
    old, new = _names(parent), _names(child)
    back = {theirs: own for own, theirs in new.items()}
    begun, inherited = inherit(
        parent, child, _renamed(variables, old), _renamed(fresh, new), images
    )
    begun, inherited = _renamed(begun, back), _renamed({"params": inherited}, back)["params"]
    places = {theirs: own for own, theirs in old.items()}
    before = {new_name: places.get(theirs) for new_name, theirs in new.items()}

    def changed(path: tuple, own: jax.Array) -> jax.Array:
        layer, *rest = (part.key for part in path)
        theirs: Any = variables["params"].get(before.get(layer, layer), {})
        for part in rest:
            theirs = theirs.get(part, {})
        same = getattr(theirs, "shape", None) == own.shape
        return jnp.asarray(not (same and bool(own.all())))

    free = jax.tree.map_with_path(changed, inherited)
    none = not any(jax.tree.leaves(jax.tree.map(bool, free)))
    return begun, jax.tree.map(lambda own: own | none, free)


def _names(architecture: Any) -> dict[str, str]:
    """By a layer's name in `network`, its name in the line of descent."""
    layers = load_architecture(architecture).layers
    return {name_of(at): name_of(layer.id) for at, layer in enumerate(layers, start=1)}


def _renamed(variables: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """Variables with the keys below the collections changed."""
    return {
        collection: {names.get(key, key): tree for key, tree in entries.items()}
        for collection, entries in variables.items()
    }
