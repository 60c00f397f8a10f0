"""Fronts of multi-objective searches: the non-dominated architectures at the end."""

import functools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gpnas.report import formatting, style
from gpnas.report._axes import Axis, set_limits
from gpnas.report._figures import FigureSpec, Panel, columns_for
from gpnas.report._groups import Group, Summary
from gpnas.report._labels import shorten_to_width
from gpnas.report._read import Run
from gpnas.report._searches import box, objectives, points_of, studies


def front_figures(summary: Summary) -> list[FigureSpec]:
    """Returns one figure per multi-objective study: fronts of all seeds, one panel per arm.

    Args:
      summary: The summary of the report.
    """
    return [
        _fronts(study, groups)
        for study, groups in studies(summary).items()
        if len(objectives(groups[0].runs[0])) > 1
    ]


def _fronts(study: str, groups: Sequence[Group]) -> FigureSpec:
    limits = box([run for group in groups for run in group.runs])
    panels = [
        Panel(
            functools.partial(_draw_front, groups, group, limits),
            f"{group.label}: fronts of {formatting.plural(len(group.runs), 'seed')}",
            264.0, 230.0, (56, 12, 26, 42),
        )
        for group in groups
    ]  # fmt: skip
    caption = (
        "Fronts at the end, one line per seed: first objective to the right, second upwards, both"
        " lower the better; the other strategies' in grey."
    )
    return FigureSpec(
        f"fronts_{formatting.slug(study)}", f"Fronts: {study}", caption, panels,
        columns=columns_for(len(panels)),
    )  # fmt: skip


def _draw_front(
    groups: Sequence[Group], own: Group, limits: tuple[np.ndarray, np.ndarray], ax: Axes
) -> None:
    first, second = objectives(own.runs[0])[:2]
    for group in sorted(groups, key=lambda group: group is own):
        colour = style.colour(own.series) if group is own else style.GRID
        for run in group.runs:
            points = _end_front(run)
            ax.step(points[:, 0], points[:, 1], where="post", color=colour, lw=1.4)
            if group is own:
                ax.plot(points[:, 0], points[:, 1], "o", ms=3, color=colour)
    axes: tuple[Axis, Axis] = ("x", "y")
    for axis, low, high in zip(axes, *limits, strict=False):
        set_limits(ax, axis, [low, high], False, 0.05)
    ax.set(xlabel=formatting.shorten(first, 30), ylabel=formatting.shorten(second, 26))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: formatting.tick(value)))
    if limits[1][1] >= 1000:
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: formatting.tick(value)))
    title = shorten_to_width(own.label, ax.get_window_extent().width, bold=True)
    ax.set_title(title, loc="left", color=style.colour(own.series), weight="bold", fontsize=11)


def _end_front(run: Run) -> np.ndarray:
    """Returns (points, objectives) of the final front, sorted by the first objective."""
    points = points_of(run, formatting.items(run.record, "front"))
    return points[np.lexsort(points.T[::-1])]
