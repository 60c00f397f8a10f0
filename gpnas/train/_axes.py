"""`model.axes` of a config: input, output and batch axes of leaves."""

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from gpnas.errors import UserError
from gpnas.masks import Axes, AxesTable, MaskTransform, init_masks, masked_leaves, tree, unstacked
from gpnas.masks import axes as mask_axes

_ALLOWED = "{path glob: {in_axis, out_axis, batch_axis: whole numbers, or tuples of them}}"


class NetworkLayers(NamedTuple):
    """The layers of a network; stacked layers are separate and named as by `unstacked`.

    Attributes:
      shapes: Shape of each layer's weights.
      axes: `Axes` by layer, for layers that match `model.axes`.
      leaf_of: Path of each layer's leaf.
    """

    shapes: dict[str, tuple[int, ...]]
    axes: dict[str, Axes]
    leaf_of: dict[str, str]


def table_of(axes: ConfigDict | Mapping[str, Any]) -> AxesTable:
    """Returns `Axes` by path glob, from a config's `model.axes`.

    Raises:
      UserError: If the section has another form.
    """
    return {glob: _axes(f"model.axes.{glob}", fields) for glob, fields in axes.items()}


def _axes(field: str, fields: Any) -> Axes:
    known = isinstance(fields, Mapping | ConfigDict) and set(fields) <= set(Axes._fields)
    if not known or not fields:
        raise UserError(field, fields, _ALLOWED)
    found = {name: tuple(x) if isinstance(x, list) else x for name, x in fields.items()}
    numbers = itertools.chain(*(x if isinstance(x, tuple) else (x,) for x in found.values()))
    if any(type(x) is not int for x in numbers):
        raise UserError(field, dict(fields), _ALLOWED)
    return Axes(**found)


def network_layers(params: Any, table: AxesTable) -> NetworkLayers:
    """Returns the layers of a network.

    Args:
      params: Parameters of the network or their shapes.
      table: `Axes` by path glob.

    Raises:
      UserError: If a glob matches no leaf, or a leaf lacks a given axis.
    """
    found = NetworkLayers({}, {}, {})
    try:
        weights = masked_leaves(jax.eval_shape(lambda p: init_masks(p, axes=table), params), params)
        for path, leaf in weights.items():
            at, shape = mask_axes.sides(path, leaf.ndim, table), leaf.shape
            own = [i for i in range(leaf.ndim) if i not in at.batch]
            inner = Axes(*(tuple(map(own.index, side)) for side in (at.ins, at.outs)))
            owner, _, last = path.rpartition("/")
            numbers = range(math.prod(shape[i] for i in at.batch))
            stacked = [f"{owner}/{i}/{last}".lstrip("/") for i in numbers]
            names = stacked if at.batch else [path]
            for name in names:
                found.shapes[name] = tuple(shape[i] for i in own)
                found.leaf_of[name] = path
                if tree.lookup(table, path, None) is not None:
                    found.axes[name] = inner
    except (IndexError, ValueError, ZeroDivisionError) as error:
        got = {glob: dict(axes._asdict()) for glob, axes in table.items()}
        allowed = f"axes of the network's leaves ({error})"
        raise UserError("model.axes", got, allowed) from error
    return found


def with_axes(transform: MaskTransform, table: AxesTable) -> MaskTransform:
    """Returns a transform that sees stacked layers separately; their biases are not masked."""
    inner = unstacked(transform, table)

    def init_fn(masks: Any, params: Any, key: jax.Array) -> tuple[Any, Any]:
        del masks  # by convention, these mask biases of stacked layers
        return inner.init(init_masks(params, axes=table), params, key)

    return inner._replace(init=init_fn)
