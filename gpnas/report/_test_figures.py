"""Figures of the test metric: by arm, against non-zeros, and against training cost."""

import functools
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from matplotlib.transforms import ScaledTranslation

from gpnas.report import formatting, style
from gpnas.report._axes import (
    Axis,
    bounds,
    mark_estimate,
    mark_mean,
    set_limits,
    set_scale,
    thin_ticks,
)
from gpnas.report._figures import NARROW, WIDE, FigureSpec, Panel
from gpnas.report._groups import Group, Series, Summary, quantity
from gpnas.report._labels import place_labels, shorten_to_width, text_width
from gpnas.report._metric import TaskMetric

MAX_ROWS = 40
MAX_NAMES = 24


def main_names(metric: TaskMetric) -> tuple[str, str]:
    """Returns the two possible names of `main_figure`."""
    return f"{metric.slug}_by_arm", f"{metric.slug}_nonzeros"


def main_figure(summary: Summary) -> FigureSpec | None:
    """Returns the test metric against non-zeros, or by arm if each has a single setting.

    Args:
      summary: Runs on one problem.

    Returns:
      The figure; None if fewer than two finished runs have the metric.
    """
    groups = [group for group in summary.groups if group.mean("test_last") is not None]
    values = [quantity(run, "test_last") for group in groups for run in group.runs]
    if len(values) - values.count(None) < 2:
        return None
    metric = summary.metric
    by_arm, by_size = main_names(metric)
    if summary.is_sweep and _has_spread(groups, "nonzeros"):
        return _against(
            groups,
            metric,
            "nonzeros",
            name=by_size,
            heading=f"Test {metric.title} against non-zero weights",
            short=f"{metric.capital} and size",
            axis="non-zero weights",
            note="",
        )
    rows = groups[:MAX_ROWS]
    return FigureSpec(
        name=by_arm,
        heading=f"Test {metric.title} by arm",
        short=metric.capital,
        caption=(
            "Large mark: mean over seeds. Bar: 95 % confidence interval. Small dots: single seeds. "
            "A hollow mark is a pilot of one seed and has no interval. The axis does not begin at "
            "zero."
            + (" The shaded band is the interval of dense." if _one_dense(rows, 2) else "")
            + (f" The first {MAX_ROWS} of {len(groups)} rows." if len(groups) > MAX_ROWS else "")
        ),
        panels=[_interval_panel(rows, metric, WIDE)],
        narrow=[_interval_panel(rows, metric, NARROW)],
    )


def _interval_panel(rows: Sequence[Group], metric: TaskMetric, width: float) -> Panel:
    found = [(group, group.estimate("test_last")) for group in rows]
    label = f"Test {metric.title} by arm. " + "; ".join(
        f"{group.label}: {metric.with_unit(metric.interval(estimate))}"
        for group, estimate in found[:12]
    )
    left = min(1.12 * max(text_width(group.label) for group in rows) + 14, 0.3 * width)
    right = max(text_width(metric.interval(estimate)) for _, estimate in found) + 20
    margins = (left, max(right, 104.0), 10.0, 44.0)
    draw = functools.partial(_draw_intervals, rows, metric)
    return Panel(draw, label, width, 30.0 * len(rows) + 62, margins)


def cost_figure(summary: Summary) -> FigureSpec | None:
    """Returns the test metric against training FLOPs as a fraction of dense training.

    Args:
      summary: Runs on one problem.

    Returns:
      The figure; None if fewer than two groups have both.
    """
    groups = [
        group
        for group in summary.groups
        if group.mean("test_last") is not None and group.mean("flops_ratio")
    ]
    if len(groups) < 2:
        return None
    metric = summary.metric
    return _against(
        groups,
        metric,
        "flops_ratio",
        name=f"{metric.slug}_training_flops",
        heading=f"Test {metric.title} against the cost of training",
        short=f"{metric.capital} and cost",
        axis="training FLOPs, dense = 1",
        note=" The FLOPs are what hardware that skips zeros would need, summed over training.",
    )


def _has_spread(groups: Sequence[Group], name: str) -> bool:
    numbers = [m for group in groups if (m := group.mean(name)) is not None and m > 0]
    return len(numbers) == len(groups) and max(numbers) > 1.02 * min(numbers)


def _one_dense(groups: Sequence[Group], seeds: int = 1) -> bool:
    """Returns whether there is exactly one dense baseline, with at least `seeds` seeds."""
    dense = [e for g in groups if g.series.is_dense and (e := g.estimate("test_last"))]
    return len(dense) == 1 and dense[0].n >= seeds


def _scale(ax: Axes, axis: Axis, metric: TaskMetric, numbers: Sequence[float], pad: float) -> None:
    """Sets scale, limits and label of an axis of the test metric."""
    # A logarithmic axis would compress metrics whose higher values are better.
    log = set_scale(ax, axis, numbers, 10.0 if metric.better == "lower" else math.inf)
    set_limits(ax, axis, numbers, log, pad)
    label = metric.axis(f"test {metric.title} at the last step") + (" (log scale)" if log else "")
    ax.set(**{f"{axis}label": label})


def _draw_intervals(groups: Sequence[Group], metric: TaskMetric, ax: Axes) -> None:
    rows = [(g, e) for g in groups if (e := g.estimate("test_last")) is not None]
    _scale(ax, "x", metric, [number for _, e in rows for number in bounds(e, metric)], 0.06)
    ax.set(ylim=(len(rows) - 0.4, -0.6))
    ax.grid(visible=False, axis="y")
    ax.spines["left"].set_visible(False)
    room = ax.get_window_extent().x0 - 12
    one_dense = _one_dense(groups)
    for row, (group, estimate) in enumerate(rows):
        own = style.colour(group.series)
        if group.series.is_dense and estimate.half and one_dense:
            ends = (estimate.mean - estimate.half, estimate.mean + estimate.half)
            ax.axvspan(*ends, color=own, alpha=0.1, lw=0)
        n = estimate.n
        ys = [row + 0.24 * ((i % 2) * 2 - 1) * (n > 1) for i in range(n)]
        ax.plot(estimate.values, ys, "o", ms=4.2, color=own, alpha=0.45, mew=0, ls="none")
        if estimate.half is not None:
            ends = (estimate.mean - estimate.half, estimate.mean + estimate.half)
            ax.plot(ends, [row, row], color=own, lw=3)
        mark_mean(ax, estimate.mean, row, group.series, estimate.n > 1, size=9)
        name = shorten_to_width(group.label, room, bold=True)
        weight = "bold" if group.series.colour < 2 else "normal"
        kwargs: dict[str, Any] = {
            "transform": ax.get_yaxis_transform(),
            "va": "center",
            "clip_on": False,
        }
        ax.text(-10 / ax.bbox.width, row, name, ha="right", color=own, weight=weight, **kwargs)
        text = metric.interval(estimate) + (" pilot" if n == 1 else "")
        ax.text(1 + 12 / ax.bbox.width, row, text, ha="left", color=style.INK, **kwargs)
    ax.yaxis.set_major_locator(NullLocator())


def _against(
    groups: Sequence[Group],
    metric: TaskMetric,
    x: str,
    *,
    name: str,
    heading: str,
    short: str,
    axis: str,
    note: str,
) -> FigureSpec:
    """Returns a figure of the test metric against another quantity, one line per arm."""
    means: dict[Series, list[float]] = {}
    for group in groups:
        means.setdefault(group.series, []).append(group.mean("test_last") or 0.0)
    best = "; ".join(
        f"{series.label}: {formatting.plural(len(own), 'setting')}, {metric.best} mean "
        f"{metric.title} {metric.text(min(own, key=metric.rank))}"
        for series, own in list(means.items())[:12]
    )

    def panel(width: float) -> Panel:
        draw = functools.partial(_draw_against, groups, metric, x, axis)
        margins = (58.0, 14.0, 14.0, 46.0)
        return Panel(draw, f"{heading}. {best}.", width, 390.0 * (width / WIDE) ** 0.3, margins)

    return FigureSpec(
        name=name,
        heading=heading,
        short=short,
        caption=(
            "Large marks: means over seeds, with 95 % confidence intervals; hollow ones are pilots "
            "of one seed. Small dots beside them: single seeds. "
            f"{'Lower' if metric.better == 'lower' else 'Upper'} left is better."
            + (" Dashed: the mean of dense." if _one_dense(groups) else "")
            + (f" The first {MAX_NAMES} arms are named." if len(means) > MAX_NAMES else "")
            + note
        ),
        panels=[panel(WIDE)],
        narrow=[panel(NARROW)],
    )


def _draw_against(
    groups: Sequence[Group], metric: TaskMetric, name: str, axis: str, ax: Axes
) -> None:
    shown = [(g, x, e) for g in groups if (x := g.mean(name)) and (e := g.estimate("test_last"))]
    xs = [x for _, x, _ in shown]
    x_log = set_scale(ax, "x", xs, 5.0)
    set_limits(ax, "x", xs, x_log, 0.1)
    _scale(ax, "y", metric, [number for _, _, e in shown for number in bounds(e, metric)], 0.08)
    ax.set(xlabel=axis + (" (log scale)" if x_log else ""))
    if not x_log and min(xs) > 0:
        ax.set(xlim=(0, ax.get_xlim()[1]))
    thin_ticks(ax)
    one_dense = _one_dense(groups)
    beside = ScaledTranslation(-7 / 72, 0, ax.figure.dpi_scale_trans)
    names: dict[Series, list[tuple[float, float]]] = {}
    for group, x, estimate in shown:
        own = style.colour(group.series)
        if group.series.is_dense and one_dense:
            ax.axhline(estimate.mean, color=own, lw=1, ls=(0, (4, 3)), alpha=0.6)
        seeds = [
            (sx, sy)
            for run in group.runs
            if (sx := quantity(run, name)) and (sy := quantity(run, "test_last")) is not None
        ]
        if len(seeds) > 1:
            dots = ax.plot(*zip(*seeds, strict=True), "o", ms=3.6, color=own, mew=0)[0]
            dots.set(
                ls="none", alpha=0.45 if len(seeds) <= 5 else 0.25, transform=ax.transData + beside
            )
        names.setdefault(group.series, []).append((x, estimate.mean))
    for series, points in names.items():
        points.sort()
        own = style.colour(series)
        ax.plot(*zip(*points, strict=True), color=own, lw=1.4, ls=style.dashes(series), alpha=0.8)
    for group, x, estimate in shown:
        mark_estimate(ax, x, estimate, group.series)
    labels = [
        (points, formatting.shorten(series.label, 24), style.colour(series))
        for series, points in list(names.items())[:MAX_NAMES]
    ]
    place_labels(ax, labels)
