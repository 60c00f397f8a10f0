"""Scales, limits and ticks of axes."""

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
    ScalarFormatter,
)

from gpnas.report import formatting, stats, style
from gpnas.report._groups import Series
from gpnas.report._labels import text_width, to_pixels
from gpnas.report._metric import TaskMetric

Axis = Literal["x", "y"]


def set_scale(ax: Axes, axis: Axis, numbers: Sequence[float], ratio: float = 10.0) -> bool:
    """Makes an axis logarithmic if its numbers span more than a given factor.

    Args:
      ax: The axes.
      axis: `"x"` or `"y"`.
      numbers: All numbers shown on the axis.
      ratio: Ratio of largest to smallest number above which the axis is logarithmic.

    Returns:
      Whether the axis is logarithmic.
    """
    low, high = min(numbers), max(numbers)
    log = low > 0 and high / low >= ratio
    target = ax.xaxis if axis == "x" else ax.yaxis
    if log:
        ax.set(**{f"{axis}scale": "log"})
        # Axes with few powers of ten get more ticks between them.
        dense = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
        subs = (
            dense
            if high / low < 8
            else (1.0, 2.0, 5.0)
            if high / low < (1000 if axis == "x" else 120)
            else (1.0,)
        )
        target.set_major_locator(LogLocator(subs=subs, numticks=12))
        target.set_minor_locator(NullLocator())
    else:
        target.set_major_locator(MaxNLocator(6 if axis == "x" else 5, steps=[1, 2, 2.5, 5, 10]))
    if log or high >= 1000:
        target.set_major_formatter(FuncFormatter(lambda value, _: formatting.tick(value)))
    else:
        # All ticks have the same number of decimals.
        plain = ScalarFormatter(useOffset=False)
        plain.set_scientific(False)
        target.set_major_formatter(plain)
    return log


def bounds(found: stats.Estimate, metric: TaskMetric) -> list[float]:
    """Returns the values that an axis of the metric must include: seeds and ends of the interval.

    An interval of two seeds is left out, since it would hide all differences. Percentages end at 0.
    """
    half = (found.half or 0.0) if found.n > 2 else 0.0
    least = 0.0 if metric.unit == "%" else float("-inf")
    return [max(found.mean - half, least), found.mean + half, *found.values]


def set_limits(ax: Axes, axis: Axis, numbers: Sequence[float], log: bool, pad: float) -> None:
    """Sets axis limits to the range of the values, padded on both sides."""
    low, high = min(numbers), max(numbers)
    if log:
        room = (high / low) ** pad if high > low else 1.5
        limits = (low / room, high * room)
    else:
        room = (high - low) * pad or abs(high) * 0.05 or 0.05
        limits = (low - room, high + room)
    ax.set(**{f"{axis}lim": limits})


def thin_ticks(ax: Axes) -> None:
    """Drops x ticks whose labels would overlap; Matplotlib draws them all."""
    low, high = ax.get_xlim()
    places = [float(t) for t in ax.xaxis.get_major_locator()() if low <= t <= high]
    pixels = to_pixels(ax, [(place, ax.get_ylim()[0]) for place in places])
    kept: list[float] = []
    right = float("-inf")
    for place, x in zip(places, pixels[:, 0].tolist(), strict=True):
        half = text_width(formatting.tick(place)) / 2
        if x - half > right + 6:
            kept.append(place)
            right = x + half
    ax.xaxis.set_major_locator(FixedLocator(kept))


def mark_mean(
    ax: Axes, x: float, y: float, series: Series, filled: bool, size: float = 7.5
) -> None:
    """Draws the marker of an arm; it is hollow if not `filled`."""
    own = style.colour(series)
    face, edge = (own, style.PAPER) if filled else (style.PAPER, own)
    ax.plot([x], [y], style.marker(series), ms=size, mfc=face, mec=edge, mew=1.3, zorder=4)


def mark_estimate(
    ax: Axes, x: float, found: stats.Estimate, series: Series, size: float = 7.5
) -> None:
    """Draws a mean at `x` with its interval; the marker of a single seed is hollow."""
    if found.half is not None:
        ends = [found.mean - found.half, found.mean + found.half]
        ax.plot([x, x], ends, color=style.colour(series), lw=2)
    mark_mean(ax, x, found.mean, series, found.n > 1, size)
