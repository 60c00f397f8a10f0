"""Costs of training and evaluating networks of `Supernet201`: steps, and MACs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.studies.supernet201 import Supernet201
from gpnas import units
from gpnas.masks import init_masks, masked_leaves
from gpnas.models import cell201

FORWARD = 1 / 3  # of a training step's cost; its backward pass takes twice that


def selection_macs(supernet: Supernet201, image_shape: tuple[int, ...]) -> Callable:
    """Makes `selection → int`, the MACs per image of the computed part of a `Supernet201`.

    Operations of weight zero are not computed.
    """
    images, every = (
        jnp.zeros((1, *image_shape)),
        jnp.ones((len(cell201.EDGES), len(cell201.OPERATIONS))),
    )

    def apply(params: Any, images: jax.Array) -> Any:
        return supernet.apply({"params": params}, images, every)

    params = jax.eval_shape(supernet.init, jax.random.key(0), images, every)["params"]
    used = units.macs(apply, params, images).per_weight
    sizes = {path: leaf.size for path, leaf in masked_leaves(init_masks(params), params).items()}
    rest, table = 0.0, np.zeros((len(cell201.EDGES), len(cell201.OPERATIONS)))
    for path, uses in used.items():
        edge, _, name = path.split("/")[-3].partition("_") if "edge" in path else ("", "", "")
        if name in cell201.OPERATIONS:
            table[int(edge.removeprefix("edge")), cell201.OPERATIONS.index(name)] += (
                uses * sizes[path]
            )
        else:
            rest += uses * sizes[path]

    def macs(selection: np.ndarray) -> int:
        one = np.ndim(selection) == 1
        weights = np.eye(len(cell201.OPERATIONS))[selection] if one else np.asarray(selection)
        return int(rest + table[weights > 0].sum())

    return macs
