"""Placement of labels in figures without overlaps."""

import functools
import itertools
import warnings
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.textpath import TextPath
from scipy.optimize import isotonic_regression

from gpnas.report import formatting, style


@functools.lru_cache(maxsize=4096)
def text_width(text: str, size: float = style.FONT_SIZE) -> float:
    """Returns the width of a text in pixels, in the figures' font."""
    if not text.strip():
        return 1.0
    with warnings.catch_warnings(action="ignore"), matplotlib.rc_context(style.RC):
        outline = np.asarray(TextPath((0, 0), text, size=size).vertices)
    return float(outline[:, 0].max()) + 1 if len(outline) else 1.0


def shorten_to_width(text: str, room: float, bold: bool = False) -> str:
    """Shortens a text to fit a width in pixels, down to a few characters."""
    wide = 1.12 if bold else 1.0
    cut = text
    for width in range(min(len(text), 100), 5, -1):
        cut = formatting.shorten(text, width)
        if wide * text_width(cut) <= room:
            break
    return cut


def spread_positions(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves positions at least `gap` apart within bounds, with the least sum of squares.

    Args:
      wanted: Preferred positions, in any order.
      gap: Minimum distance between two positions.
      low: Lower bound.
      high: Upper bound; ignored if the positions do not fit.

    Returns:
      The positions, in the order of `wanted`.
    """
    if not wanted:
        return []
    order = np.argsort(wanted, kind="stable")
    shifts = gap * np.arange(len(order))
    # Least squares under `position[i + 1] - position[i] >= gap` is an isotonic regression of the
    # remainders.
    flat = isotonic_regression(np.asarray(wanted)[order] - shifts).x
    result = np.empty(len(order))
    result[order] = flat.clip(low, max(high - shifts[-1], low)) + shifts
    return [float(place) for place in result]


def to_pixels(ax: Axes, points: Sequence[tuple[float, float]] | np.ndarray) -> np.ndarray:
    """Converts data coordinates to pixels, and freezes the axes' limits.

    Matplotlib autoscales when limits are read, but not when `transData` is, so all placement by
    data coordinates uses this function.

    Args:
      ax: The axes, with all data drawn.
      points: (N, 2) x and y.

    Returns:
      (N, 2) pixels.
    """
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())
    return np.asarray(ax.transData.transform(np.asarray(points, float).reshape(-1, 2)))


def edge_labels(ax: Axes, labels: Sequence[tuple[float, float, str, str]]) -> None:
    """Writes each line's name at the right edge, beside its last point.

    Args:
      ax: The axes, with all data drawn.
      labels: (x, y, name, colour) of each line's last point, in data coordinates.
    """
    box = ax.get_window_extent()
    pixels = to_pixels(ax, [(x, y) for x, y, _, _ in labels])
    ys = [float(y) - box.y0 for _, y in pixels]
    places = spread_positions(
        ys, style.FONT_SIZE * 1.25, style.FONT_SIZE * 0.4, box.height - style.FONT_SIZE * 0.2
    )
    starts = ax.transAxes.inverted().transform(pixels)
    for (_, _, text, colour_), start, place in zip(labels, starts, places, strict=True):
        ax.annotate(
            text,
            xy=(float(start[0]), float(start[1])),
            xycoords="axes fraction",
            xytext=(1 + 12 / box.width, place / box.height),
            textcoords="axes fraction",
            color=colour_,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour_,
                "lw": 0.6,
                "alpha": 0.6,
                "shrinkA": 1,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
        )


def place_labels(ax: Axes, names: Sequence[tuple[Sequence[tuple[float, float]], str, str]]) -> None:
    """Places labels beside points with the least overlap.

    A label that does not fit beside its point is placed farther away, connected by a thin line.

    Args:
      ax: The axes, with everything else drawn.
      names: For each label the candidate points in data coordinates, best first; the text; and
        the colour.
    """
    box = ax.get_window_extent()
    pixels = [to_pixels(ax, points) for points, _, _ in names]
    taken = [_boxes(np.concatenate(pixels), 5, 5)] if pixels else []
    for line in ax.lines:
        path = line.get_transform().transform(np.column_stack(line.get_data()).astype(float))
        taken.append(_boxes(_along(path) if line.get_linestyle() != "None" else path, 2, 3))
    height = style.FONT_SIZE
    for points, (_, text, colour) in zip(pixels, names, strict=True):
        width = text_width(text)
        offsets = _offsets(width, height)
        # Lower left corners of all candidate places: (points, offsets).
        corners = (points[:, None] + offsets).reshape(-1, 2)
        places = np.hstack([corners, corners + (width, height)])
        outside = np.maximum([box.x0, box.y0] - places[:, :2], 0).sum(1)
        outside += np.maximum(places[:, 2:] - [box.x1, box.y1], 0).sum(1)
        dislike = 3 * np.arange(len(points))[:, None] + np.arange(len(offsets))
        cost = 20 * outside + dislike.ravel() + _overlap(places, np.concatenate(taken))
        choice = int(cost.argmin())
        left, low = corners[choice]
        taken.append(np.array([[left - 2, low - 1, left + width + 2, low + height + 1]]))
        inside = ax.transData.inverted()
        x, y = inside.transform((left, low + height * 0.15))
        ax.text(float(x), float(y), text, color=colour, va="baseline")
        if choice % len(offsets) >= _NEAR:
            point = points[choice // len(offsets)]
            edge = left - 2 if left > point[0] else left + width + 2
            ends = inside.transform([point, (edge, low + height / 2)])
            ax.plot(ends[:, 0], ends[:, 1], color=colour, lw=0.6, alpha=0.6, zorder=1)


_NEAR = 8


def _offsets(width: float, height: float) -> np.ndarray:
    """Returns (n, 2) lower left corners of a text, relative to its point.

    The first `_NEAR` are close to the point.
    """
    right, left, middle = 9, -9 - width, -height * 0.4
    close = [(right, middle), (left, middle), (-width / 2, 9), (-width / 2, -9 - height)]
    close += [(x, y) for x in (7, -7 - width) for y in (7, -7 - height)]
    far = [
        (x, middle + side * 13 * k)
        for k in range(1, 13)
        for side in (1, -1)
        for x in (right + 14, left - 14)
    ]
    return np.array(close + far)


def _boxes(points: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    half = np.array([half_width, half_height])
    return np.hstack([points - half, points + half])


def _along(path: np.ndarray, step: float = 5.0) -> np.ndarray:
    """Returns points along a polyline, about `step` pixels apart."""
    pieces = [path[:1]]
    for a, b in itertools.pairwise(path):
        n = int(np.hypot(*(b - a)) // step) + 1
        pieces.append(a + (b - a) * np.linspace(0, 1, n + 1)[1:, None])
    return np.concatenate(pieces)


def _overlap(places: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Returns the area of each place that is covered by rectangles."""
    high = np.minimum(places[:, None, 2:], taken[None, :, 2:])
    low = np.maximum(places[:, None, :2], taken[None, :, :2])
    return np.maximum(high - low, 0).prod(-1).sum(-1)
