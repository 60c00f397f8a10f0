"""Panels of lines over training steps."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gpnas.report import _curves, formatting, style
from gpnas.report._axes import set_limits, set_scale
from gpnas.report._figures import Panel
from gpnas.report._groups import Group, Series
from gpnas.report._labels import edge_labels, place_labels, shorten_to_width, text_width
from gpnas.report._read import Run

SMALL = (264.0, 186.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """A curve and its style; lines without an arm are grey context."""

    curve: _curves.Curve
    series: Series | None
    name: str = ""

    @property
    def colour(self) -> str:
        """The arm's colour."""
        return style.GRID if self.series is None else style.colour(self.series)


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """The vertical axis shared by the panels of a figure: limits, scale and unit.

    Attributes:
      low, high: The smallest and the largest value.
      log: Whether the axis is logarithmic.
      unit: Formats a value.
      zero: Whether a linear axis starts at zero, if no value is negative.
    """

    low: float
    high: float
    log: bool
    unit: Callable[[float], str]
    zero: bool = True

    @classmethod
    def around(
        cls,
        lines: Sequence[Line],
        unit: Callable[[float], str],
        top: float = -np.inf,
        ratio: float = 10.0,
        zero: bool = True,
    ) -> Self:
        """Returns a frame that contains all lines."""
        low = min(float(line.curve.low.min()) for line in lines)
        high = max(top, *(float(line.curve.high.max()) for line in lines))
        return cls(low, high, low > 0 and high / low >= ratio, unit, zero)

    def apply(self, ax: Axes) -> None:
        """Sets limits, scale and ticks."""
        set_scale(ax, "y", [self.low, self.high], 1.0 if self.log else float("inf"))
        if self.zero and self.low >= 0 and not self.log:
            ax.set(ylim=(0, self.high * 1.06 or 1))
        else:
            set_limits(ax, "y", [self.low, self.high], self.log, 0.06)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: self.unit(value)))

    @property
    def note(self) -> str:
        """A sentence about the scale."""
        return " The vertical axis is logarithmic." if self.log else ""


def rounded_percent(share: float) -> str:
    """Formats a fraction as a percentage with two significant digits."""
    return f"{formatting.significant(100 * share, 2)} %"


def plain(value: float) -> str:
    """Formats a number with three significant digits."""
    return formatting.significant(value, 3)


def line_panel(
    lines: Sequence[Line],
    frame: Frame,
    title: str,
    colour: str,
    label: str,
    *,
    row: str = "",
    height: float = SMALL[1],
    end: Run | None = None,
) -> Panel:
    """Returns a small panel of lines over training, with a text alternative.

    Args:
      lines: Lines to draw; those without a series are background.
      frame: The vertical axis.
      title, colour: Heading of the panel and its colour.
      label: Start of the text alternative.
      row: Heading of the row, for the first panel of a row.
      height: Height in pixels.
      end: An unfinished run; its missing part is shaded.
    """
    own = [line for line in lines if line.series is not None]
    values = "; ".join(
        f"from {frame.unit(float(line.curve.mean[0]))} at step {line.curve.steps[0]:,.0f} to "
        f"{frame.unit(float(line.curve.mean[-1]))} at step {line.curve.steps[-1]:,.0f}"
        for line in own
    )
    right = max((text_width(line.name) + 18 for line in own if line.name), default=12.0)
    draw = functools.partial(draw_lines, lines, frame, title, colour, "", end=end)
    return Panel(draw, f"{label}: {values}.", SMALL[0], height, (50.0, right, 26.0, 42.0), row)


def _title(ax: Axes, text: str, colour: str, left: float = 48) -> None:
    text = shorten_to_width(text, ax.get_window_extent().width + left + 34, bold=True)
    offset: Any = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (-left, 10)}
    ax.annotate(
        text, **offset, textcoords="offset points", color=colour, weight="bold", va="baseline"
    )


def steps_axis(ax: Axes, first: float, last: float) -> None:
    """Sets up the horizontal axis of training steps, from 0 or `first` to `last`."""
    ax.set(xlim=(min(first, 0), last if last > first else first + 1), xlabel="training step")
    bins = max(3, min(8, int(ax.get_window_extent().width / 80)))
    ax.xaxis.set_major_locator(MaxNLocator(bins, steps=[1, 2, 2.5, 5, 10], integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: formatting.tick(value)))


def draw_lines(
    lines: Sequence[Line],
    frame: Frame,
    title: str,
    colour: str,
    ylabel: str,
    ax: Axes,
    *,
    end: Run | None = None,
) -> None:
    """Draws lines over training into `ax`, with their ranges, and names at their ends.

    Args:
      lines, frame, title, colour, end: As in `line_panel`.
      ylabel: Label of the vertical axis; may be empty.
      ax: The axes.
    """
    frame.apply(ax)
    last = max(float(line.curve.steps[-1]) for line in lines)
    total = float(end.total_steps or last) if end is not None else last
    steps_axis(ax, min(float(line.curve.steps[0]) for line in lines), max(last, total))
    if ylabel:
        ax.set(ylabel=ylabel + (" (log scale)" if frame.log else ""))
    if title:
        _title(ax, title, colour)
    if total > last:
        ax.axvspan(last, total, color=style.GRID, alpha=0.55, lw=0)
    for line in lines:
        c = line.curve
        if line.series is None:
            ax.plot(c.steps, c.mean, color=line.colour, lw=1, zorder=1)
            continue
        if np.any(c.high > c.low):
            ax.fill_between(c.steps, c.low, c.high, color=line.colour, alpha=0.16, lw=0)
        ax.plot(c.steps, c.mean, color=line.colour, ls=style.dashes(line.series), zorder=3)
        if len(c.steps) == 1 or end is not None:
            ax.plot(c.steps[-1:], c.mean[-1:], "o", ms=5, color=line.colour, clip_on=False)
    named = [line for line in lines if line.name]
    if end is not None:
        place_labels(ax, [([_last(line)], line.name, line.colour) for line in named])
        return
    edge_labels(ax, [(*_last(line), line.name, line.colour) for line in named])


def _last(line: Line) -> tuple[float, float]:
    return float(line.curve.steps[-1]), float(line.curve.mean[-1])


def draw_rates(grown: _curves.Curve, pruned: _curves.Curve, group: Group, ax: Axes) -> None:
    """Draws rates of growth (up) and pruning (down), in weights per step, into `ax`."""
    own = style.colour(group.series)
    peak = float(max(grown.mean.max(), pruned.mean.max()))
    ax.set(ylim=(-1.12 * peak, 1.12 * peak))
    steps_axis(ax, float(grown.steps[0]), float(grown.steps[-1]))
    for curve, sign, alpha in ((grown, 1, 0.55), (pruned, -1, 0.22)):
        ax.fill_between(curve.steps, 0, sign * curve.mean, step="pre", color=own, alpha=alpha, lw=0)
        ax.plot(curve.steps, sign * curve.mean, drawstyle="steps-pre", color=own, lw=1)
    ax.axhline(0, color=style.MUTED, lw=0.9)
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], symmetric=True))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: formatting.tick(abs(value))))
    # Separate labels, since browsers collapse spaces.
    for word, height in (("grown", 0.75), ("pruned", 0.25)):
        at: Any = {"xy": (0, height), "xycoords": "axes fraction", "xytext": (-46, 0)}
        how: Any = {"rotation": 90, "ha": "center", "va": "center", "color": style.MUTED}
        ax.annotate(word, **at, textcoords="offset points", **how)
    _title(ax, group.label, own, left=58)
