"""Layer-by-layer summary of a network: shapes, parameters, MACs and active units."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from gpnas.masks import tree
from gpnas.units._active import active_units
from gpnas.units._discover import discover
from gpnas.units.cost import macs

PARAMS = "params/"


class LayerSummary(NamedTuple):
    """A layer: the leaves of one module, or of one container of a pytree.

    Attributes:
      name: Path of the layer.
      shapes: `{name of a leaf: its shape}`.
      params: Number of parameters.
      macs: MACs of its weights per example, including inactive ones.
      weights: Number of parameters in leaves of two or more axes.
      active: Number of nonzero weights.
      units: Number of removable units that the layer produces.
      active_units: Number of units with nonzero outgoing weights.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]
    params: int
    macs: int
    weights: int
    active: int
    units: int
    active_units: int


def layer_summaries(
    apply_fn: Callable[..., Any], variables: Any, inputs: Any
) -> tuple[list[LayerSummary], int]:
    """Summarizes a network of any library, layer by layer.

    Args:
      apply_fn: `(variables, inputs) → outputs`, in evaluation mode.
      variables: Its masked variables. Of a dict with "params", only these are summarized.
      inputs: One example, (1, …), or its shape and dtype.

    Returns:
      The layers, in natural order, and the MACs of products of two activations, which belong to no
      weight.
    """
    shapes = jax.eval_shape(lambda x: x, variables)
    counted = macs(apply_fn, shapes, inputs)
    groups = discover(apply_fn, shapes, inputs)
    active = active_units(groups, variables)
    leaves = tree.leaves_by_path(variables)
    if any(path.startswith(PARAMS) for path in leaves):
        leaves = {path: leaf for path, leaf in leaves.items() if path.startswith(PARAMS)}
    found = []
    for name, paths in itertools.groupby(sorted(leaves, key=tree.natural_order), _layer):
        own = {path: np.asarray(leaves[path]) for path in paths}
        weights = [leaf for leaf in own.values() if leaf.ndim > 1]
        produced = [g for g in groups.groups if g.name.rpartition(":")[0] in own]
        found.append(
            LayerSummary(
                name.removeprefix(PARAMS),
                {path.rpartition("/")[2]: leaf.shape for path, leaf in own.items()},
                sum(leaf.size for leaf in own.values()),
                round(sum(counted.per_weight.get(p, 0) * x.size for p, x in own.items())),
                sum(leaf.size for leaf in weights),
                sum(int(np.count_nonzero(leaf)) for leaf in weights),
                sum(group.size for group in produced),
                sum(int(active[group.name].sum()) for group in produced),
            )
        )
    return found, counted.others


def _layer(path: str) -> str:
    return path.rpartition("/")[0] or path
