"""Networks with canonical layer names, so that equal networks are compiled once.

Ids of an architecture come from its ancestors and may differ between equal networks. The built
network and its variables use ids 1, 2, … in the order of the layers.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.search.morphable._architecture import IMAGE, Architecture, load_architecture
from gpnas.search.morphable._inherit import inherit
from gpnas.search.morphable._network import Morphable, name_of


def standard(architecture: Any) -> Architecture:
    """Returns the same network with ids 1, 2, … in the order of its layers."""
    own = load_architecture(architecture)
    ids = {IMAGE: IMAGE} | {layer.id: at for at, layer in enumerate(own.layers, start=1)}
    layers = tuple(
        layer._replace(id=ids[layer.id], inputs=tuple(ids[i] for i in layer.inputs))
        for layer in own.layers
    )
    return own._replace(layers=layers, next_id=len(layers) + 1)


def network(architecture: Any, conv: str = "xla") -> Morphable:
    """Builds the module of an architecture, its layers named 1, 2, … in order.

    Args:
      architecture: A checked `Architecture`.
      conv: A key of `gpnas.models.CONVOLUTIONS`.
    """
    return Morphable(standard(architecture), conv=conv)


def descend(
    parent: Any, child: Any, variables: Any, fresh: Any, images: jax.Array | None = None
) -> tuple[Any, Any]:
    """Returns a child's initial variables, inherited from its parent, and which are trained first.

    Args:
      parent, child: Architectures.
      variables: Variables of the parent's `network`.
      fresh: Newly initialized variables of the child's `network`.
      images: As for `inherit`.

    Returns:
      `(variables, free)`: with the structures of `fresh` and of its params. `free` leaves are ()
      bool: True where any entry is new or the shape differs from the parent's. If there is no such
      leaf, all are free.
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
    """Maps a layer's name in `network` to its name in the line of descent."""
    layers = load_architecture(architecture).layers
    return {name_of(at): name_of(layer.id) for at, layer in enumerate(layers, start=1)}


def _renamed(variables: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """Renames the keys below the collections."""
    return {
        collection: {names.get(key, key): tree for key, tree in entries.items()}
        for collection, entries in variables.items()
    }
