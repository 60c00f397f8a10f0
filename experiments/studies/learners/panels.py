"""One figure of arms at several densities: a panel per arm, with the same reference arms in all."""

import functools
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from experiments.studies.densities import Record, density_reached, error, mean, settings
from gpnas.report import FigureSpec, Panel, columns_for, formatting, place_labels, stats, style

_SIZE = (264.0, 216.0)
_MARGINS = (46.0, 12.0, 26.0, 42.0)
_OWN = "c3"
# Colour, line and horizontal offset of the references; the offset separates their bars in the first
# panel.
_STYLES = (("c0", "-", 1.09), ("c2", (0, (5, 2)), 1.0), ("c1", (0, (1.5, 1.5)), 0.92))

Points = list[tuple[float, stats.Estimate]]


def density_panels(
    heading: str, records: Sequence[Record], references: Sequence[str], top: float
) -> FigureSpec:
    """Plots error against actual density, dense to sparse, one panel per arm.

    Args:
      heading: Heading of the figure.
      records: Records of a study; settings of an arm differ in fields of the method.
      references: Up to three arms, drawn in every panel; the first panel has only these.
      top: Upper limit of the test error in %; values above it are written at the edge.
    """
    arms = {arm: _points(records, arm) for arm in dict.fromkeys(r["arm"] for r in records)}
    known = {arm: arms.pop(arm) for arm in references if arm in arms}
    best = sorted(arms, key=lambda arm: min(found.mean for _, found in arms[arm]))
    drawn = {"for comparison": None} | {arm: arms[arm] for arm in best}
    bottom = min(found.mean - (found.half or 0) for p in (known | arms).values() for _, found in p)
    limits = (bottom - 0.04 * (top - bottom), top)
    densities = [100 * density for p in (known | arms).values() for density, _ in p]
    span = (1.3 * max(densities), min(densities) / 1.4)
    panels = [
        Panel(
            functools.partial(_draw, title, points, known, span, limits),
            _description(title, points),
            *_SIZE,
            _MARGINS,
        )
        for title, points in drawn.items()
    ]
    return FigureSpec(
        name="error_density",
        heading=heading,
        caption=(
            "Markers: means over seeds, at the resulting density; bars: 95 % confidence "
            "intervals. Networks become sparser to the right. In every panel, for comparison: "
            f"{', '.join(known)} (slightly offset in the first panel). Above {top:g} % "
            "errors are written at the upper edge. The vertical axis does not begin at zero."
        ),
        panels=panels,
        columns=columns_for(len(panels)),
    )


def _points(records: Sequence[Record], arm: str) -> Points:
    """Returns density and error of an arm's settings, the densest first."""
    groups = settings([record for record in records if record["arm"] == arm])
    found = ((mean(group, density_reached), stats.estimate(map(error, group))) for group in groups)
    return [(density, errors) for density, errors in found if errors is not None]


def _description(title: str, points: Points | None) -> str:
    pairs = (f"{e.mean:.2f} % at a density of {100 * d:.3g} %" for d, e in points or ())
    return f"{title}: {'; '.join(pairs)}." if points else "The arms for comparison."


def _draw(
    title: str,
    points: Points | None,
    references: dict[str, Points],
    span: tuple[float, float],
    limits: tuple[float, float],
    ax: Axes,
) -> None:
    ax.set(xscale="log", xlim=span, ylim=limits)
    ax.set(xlabel="weights left, % (log scale)", ylabel="test error, %")
    ax.xaxis.set_major_locator(FixedLocator([100, 30, 10, 3, 1, 0.3, 0.1]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: formatting.tick(value)))
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    colour = style.INK if points is None else style.COLOURS[_OWN][0]
    ax.set_title(title, loc="left", color=colour, weight="bold", fontsize=style.FONT_SIZE)
    names = []
    for (reference, own), (key, dashes, shift) in zip(references.items(), _STYLES, strict=False):
        shade, moved = style.COLOURS[key][0], own
        if points is None:
            moved = [(shift * density, found) for density, found in own]
            _mark(ax, moved, shade, limits[1])
            names.append((list(zip(*_coordinates(moved), strict=True))[::-1], reference, shade))
        alpha = 1 if points is None else 0.55
        ax.plot(*_coordinates(moved), color=shade, ls=dashes, lw=1.4, alpha=alpha)
    place_labels(ax, names)
    if points is not None:
        ax.plot(*_coordinates(points), color=colour, lw=1.8)
        _mark(ax, points, colour, limits[1])


def _coordinates(points: Points) -> tuple[list[float], list[float]]:
    return [100 * density for density, _ in points], [found.mean for _, found in points]


def _mark(ax: Axes, points: Points, colour: str, top: float) -> None:
    """Draws means and intervals; those above the limit as numbers at the edge."""
    for density, found in points:
        x = 100 * density
        if found.mean > top:
            ax.plot([x], [top], "^", ms=6, mfc=style.PAPER, mec=colour, clip_on=False, zorder=4)
            continue
        if found.half is not None:
            ends = [found.mean - found.half, found.mean + found.half]
            ax.plot([x, x], ends, color=colour, lw=1.8)
        ax.plot([x], [found.mean], "o", ms=5.5, mfc=colour, mec=style.PAPER, zorder=4)
    above = [(density, found.mean) for density, found in points if found.mean > top]
    if above:
        ax.annotate(
            ", ".join(f"{mean_error:.0f} %" for _, mean_error in above),
            (100 * above[-1][0], top),
            xytext=(8, -2),
            textcoords="offset points",
            va="top",
            color=colour,
        )
