"""Latency of networks and units, interpolated in a table of measured layers.

A layer is a product or a convolution with given parameters (strides, padding) and operand shapes in
which some widths are free. Each layer is timed in isolation on a grid of its free widths, once per
machine; times between grid points are interpolated linearly. The table is plain JSON.
"""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from gpnas.errors import UserError
from gpnas.timing import interleave
from gpnas.units._groups import UnitMasks, split_by_group
from gpnas.units.cost._layers import TimedLayer
from gpnas.units.cost._unit_cost import (
    CostModel,
    active_lengths,
    active_vector,
    lengths_without_each,
)

#: `{layer: {"widths": [[…], …], "ms": nested lists}}`, as `measure_layers` returns it.
LatencyTable = Mapping[str, Mapping[str, Any]]
FRACTIONS = (0.0, 0.25, 0.5, 1.0)


def measure_layers(
    model: CostModel,
    known: LatencyTable | None = None,
    fractions: Sequence[float] = FRACTIONS,
    rounds: int = 20,
) -> dict[str, dict[str, Any]]:
    """Times every layer of a function on this machine, in isolation and in float32.

    Args:
      model: A model from `cost_model`, for inputs of the intended batch size.
      known: A table whose layers are not timed again.
      fractions: Grid points as fractions of the full widths (at least 1 index each).
      rounds: Number of timed calls, whose median is recorded.

    Returns:
      `{layer: {"widths": [[…], …], "ms": nested lists}}`, including `known`.
    """
    table = {key: dict(entry) for key, entry in (known or {}).items()}
    for layer in model.layers:
        if layer.key not in table:
            grid = [sorted({max(1, round(f * n)) for f in fractions}) for n in layer.widths]
            flat = [_median_ms(layer, widths, rounds) for widths in itertools.product(*grid)]
            ms = np.reshape(flat, [len(widths) for widths in grid])
            table[layer.key] = {"widths": grid, "ms": ms.tolist()}
    return table


def total_latency(model: CostModel, unit_masks: UnitMasks, table: LatencyTable) -> Any:
    """Sums the latencies of all layers at their active widths, in milliseconds.

    Norms, activations and pooling are not in the table and not counted.

    Args:
      model: A model from `cost_model`.
      unit_masks: `{group: (size,) bool}`; missing groups are active. May be traced.
      table: A table from `measure_layers`.

    Returns:
      () float, ms.

    Raises:
      UserError: If a layer is missing from the table.
    """
    active, xp = active_vector(model, unit_masks)
    length = active_lengths(model, active)[:, None]
    total = xp.zeros(1, active.dtype)
    for layer in model.layers:
        widths = [length[axis] for axis in layer.axes]
        present = math.prod(length[axis] for axis in layer.blocks)
        total = total + present * layer.repeats * _interpolate(xp, _entry(table, layer), widths)
    return total[0]


def unit_latency(model: CostModel, unit_masks: UnitMasks, table: LatencyTable) -> dict[str, Any]:
    """Returns the marginal latency of each unit in milliseconds (see `unit_cost`).

    Measured times are made monotone in the width first, so that noise makes no cost negative.

    Args:
      model, unit_masks, table: As for `total_latency`.

    Returns:
      `{group: (size,) float}`, ms.

    Raises:
      UserError: If a layer is missing from the table.
    """
    active, xp = active_vector(model, unit_masks)
    without, more = lengths_without_each(model, active)
    cost = xp.zeros(len(active) - 1, active.dtype)
    for layer in model.layers:
        if layer.axes or layer.blocks:
            entry, at = _entry(table, layer), np.array(layer.axes, int)
            present, absent = (
                math.prod(lengths[axis] for axis in layer.blocks)
                for lengths in (without + more, without)
            )
            longer = present * _interpolate(xp, entry, list(without[at] + more[at]))
            shorter = absent * _interpolate(xp, entry, list(without[at]))
            cost = cost + layer.repeats * (longer - shorter)
    return split_by_group(model.sizes, cost)


def _entry(table: LatencyTable, layer: TimedLayer) -> Mapping[str, Any]:
    if layer.key not in table:
        raise UserError("table", layer.key, f"one of {len(table)} measured layers")
    return table[layer.key]


def _interpolate(xp: Any, entry: Mapping[str, Any], widths: list) -> Any:
    """Interpolates milliseconds at widths, arrays of one shape."""
    ms = np.asarray(entry["ms"], float)
    for axis in range(ms.ndim):
        ms = np.maximum.accumulate(ms, axis)
    if not widths:
        return xp.asarray(ms)
    at = [xp.interp(w, np.array(g, float), np.arange(len(g)))
          for w, g in zip(widths, entry["widths"], strict=True)]  # fmt: skip
    if xp is np:
        return ndimage.map_coordinates(ms, np.stack(at), order=1, mode="nearest")
    return jax.scipy.ndimage.map_coordinates(jnp.asarray(ms), at, order=1, mode="nearest")


def _median_ms(layer: TimedLayer, widths: Sequence[int], rounds: int) -> float:
    function, shapes = layer.build(widths)
    random = np.random.default_rng(0)
    args = [jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes]
    compiled = jax.jit(function).lower(*args).compile()
    (seconds,) = interleave({"": lambda: compiled(*args)}, rounds).values()
    return round(1000 * statistics.median(seconds), 5)
