"""Latency of units, from a table of measured layers.

A layer is a product or a convolution: its operands' shapes, in which some widths are free, and its
strides, padding and so on. Each is timed by itself on a grid of its free widths, once for a
machine; between the grid's points time is interpolated. The table is plain JSON.
"""

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from gpnas.errors import UserError
from gpnas.units._groups import UnitMasks
from gpnas.units.cost._layers import Layer
from gpnas.units.cost._unit_cost import Counts, alive_units, lengths, split_units, without_each

Table = Mapping[str, Mapping[str, Any]]
FRACTIONS = (0.0, 0.25, 0.5, 1.0)


def measure_layers(
    counts: Counts,
    known: Table | None = None,
    fractions: Sequence[float] = FRACTIONS,
    rounds: int = 20,
) -> dict[str, dict[str, Any]]:
    """Times every layer of a function on this machine, by itself, in float32.

    Args:
      counts: Of `count`, of inputs of the batch size that is meant.
      known: A table of which layers are not timed again.
      fractions: Of the full widths, at least one index each: the grid.
      rounds: Calls that are timed; the median counts.

    Returns:
      `{layer: {"widths": [[…], …], "ms": nested lists}}` with `known` in it.
    """
    table = {key: dict(entry) for key, entry in (known or {}).items()}
    for layer in counts.layers:
        if layer.key not in table:
            grid = [sorted({max(1, round(f * n)) for f in fractions}) for n in layer.widths]
            flat = [_median_ms(layer, widths, rounds) for widths in itertools.product(*grid)]
            ms = np.reshape(flat, [len(widths) for widths in grid])
            table[layer.key] = {"widths": grid, "ms": ms.tolist()}
    return table


def total_latency(counts: Counts, unit_masks: UnitMasks, table: Table) -> Any:
    """Milliseconds of all layers, one after the other, at their living widths.

    What is not a layer (norms, activations, pooling) is not in the table, and not in the sum.

    Args:
      counts: Of `count`.
      unit_masks: `{group: (size,) bool}`; groups that are not named live. May be traced.
      table: Of `measure_layers`, or the same read from JSON.

    Returns:
      () float.

    Raises:
      UserError: For a layer that is not in the table.
    """
    living, xp = alive_units(counts, unit_masks)
    length = [n.reshape(1) for n in lengths(counts, living)]
    total = xp.zeros(1, living.dtype)
    for layer in counts.layers:
        widths = [length[axis] for axis in layer.axes]
        total = total + layer.turns * _interpolate(xp, _entry(table, layer), widths)
    return total[0]


def unit_latency(counts: Counts, unit_masks: UnitMasks, table: Table) -> dict[str, Any]:
    """Milliseconds that each unit costs: with it alive, less with it dead, all else as it is.

    Time is taken never to fall with width, so noise makes no cost negative; where the table is
    flat, it is zero.

    Args:
      counts, unit_masks, table: As for `total_latency`.

    Returns:
      `{group: (size,) float}`.

    Raises:
      UserError: For a layer that is not in the table.
    """
    living, xp = alive_units(counts, unit_masks)
    without, more = without_each(counts, living, xp)
    cost = xp.zeros(len(living) - 1, living.dtype)
    for layer in counts.layers:
        if layer.axes:
            entry, at = _entry(table, layer), np.array(layer.axes)
            longer = _interpolate(xp, entry, list(without[at] + more[at]))
            cost = cost + layer.turns * (longer - _interpolate(xp, entry, list(without[at])))
    return split_units(counts, cost)


def _entry(table: Table, layer: Layer) -> Mapping[str, Any]:
    if layer.key not in table:
        raise UserError("table", layer.key, f"one of {len(table)} measured layers")
    return table[layer.key]


def _interpolate(xp: Any, entry: Mapping[str, Any], widths: list) -> Any:
    """Milliseconds at widths, each of any one shape, between the points of the grid."""
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


def _median_ms(layer: Layer, widths: Sequence[int], rounds: int) -> float:
    function, shapes = layer.build(widths)
    random = np.random.default_rng(0)
    args = [jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes]
    compiled = jax.jit(function).lower(*args).compile()
    jax.block_until_ready(compiled(*args))
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        taken.append(1000 * (time.perf_counter() - begun))
    return round(statistics.median(taken), 5)
