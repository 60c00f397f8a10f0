"""Figures of test error: against non-zeros, against training cost, and by arm."""

import functools
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from matplotlib.transforms import ScaledTranslation

from gpnas.report import formatting, stats, style
from gpnas.report._axes import set_limits, set_scale, thin_ticks
from gpnas.report._figures import FigureSpec, Panel
from gpnas.report._groups import Group, Series, Summary, quantity
from gpnas.report._labels import fit, place_labels, text_width

_WIDE, _NARROW = 760.0, 380.0
MAX_ROWS = 40
MAX_NAMES = 24
_ERROR = "test error at the last step, %"


def error_figure(summary: Summary) -> FigureSpec | None:
    """Returns the main figure: error against non-zeros, or by arm where each has one setting.

    Args:
      summary: The summary of the report.

    Returns:
      The figure; None where no finished run has a test error.
    """
    groups = [group for group in summary.groups if group.mean("error_last") is not None]
    if not groups:
        return None
    if summary.is_sweep and _has_spread(groups, "nonzeros"):
        return _against(
            groups,
            "nonzeros",
            name="error_nonzeros",
            heading="Test error against non-zero weights",
            axis="non-zero weights",
            note="",
        )
    draw, label, rows = _draw_intervals, _interval_label(groups), groups[:MAX_ROWS]
    height = 30.0 * len(rows) + 62

    def panel(width: float) -> Panel:
        left = min(1.12 * max(text_width(group.label) for group in rows) + 14, 0.3 * width)
        margins = (left, 104.0, 10.0, 44.0)
        return Panel(functools.partial(draw, rows), label, width, height, margins)

    return FigureSpec(
        name="error_by_arm",
        heading="Test error by arm",
        caption=(
            "Large mark: mean over seeds. Bar: 95 % confidence interval. Small dots: single seeds. "
            "A hollow mark is a pilot of one seed and has no interval. The axis does not begin at "
            "zero."
            + (" The shaded band is the interval of dense." if _one_dense(rows, 2) else "")
            + (f" The first {MAX_ROWS} of {len(groups)} rows." if len(groups) > MAX_ROWS else "")
        ),
        panels=[panel(_WIDE)],
        narrow=[panel(_NARROW)],
    )


def cost_figure(summary: Summary) -> FigureSpec | None:
    """Returns test error against training FLOPs as a share of dense training."""
    groups = [
        group
        for group in summary.groups
        if group.mean("error_last") is not None and group.mean("flops_ratio")
    ]
    if not groups:
        return None
    return _against(
        groups,
        "flops_ratio",
        name="error_training_flops",
        heading="Test error against the cost of training",
        axis="training FLOPs, dense = 1",
        note=" The FLOPs are what hardware that skips zeros would need, summed over training.",
    )


def _has_spread(groups: Sequence[Group], name: str) -> bool:
    numbers = [m for group in groups if (m := group.mean(name)) is not None and m > 0]
    return len(numbers) == len(groups) and max(numbers) > 1.02 * min(numbers)


def _interval_label(groups: Sequence[Group]) -> str:
    return "Test error by arm. " + "; ".join(
        f"{group.label}: {error_text(group.estimate('error_last'))} %" for group in groups[:12]
    )


def error_text(estimate: stats.Estimate | None) -> str:
    """Formats an error as `interval_text`; `1.62 pilot (1 seed)` for a single seed."""
    pilot = estimate is not None and estimate.n == 1
    return stats.interval_text(estimate) + (" pilot (1 seed)" if pilot else "")


def _one_dense(groups: Sequence[Group], seeds: int = 1) -> bool:
    """Returns whether there is one dense baseline to compare with, of at least so many seeds."""
    dense = [e for g in groups if g.series.is_dense and (e := g.estimate("error_last"))]
    return len(dense) == 1 and dense[0].n >= seeds


def _bounds(estimate: stats.Estimate) -> list[float]:
    half = estimate.half or 0.0
    return [estimate.mean - half, estimate.mean + half, *estimate.values]


def _draw_intervals(groups: Sequence[Group], ax: Axes) -> None:
    rows = [(g, e) for g in groups if (e := g.estimate("error_last")) is not None]
    numbers = [number for _, estimate in rows for number in _bounds(estimate)]
    log = set_scale(ax, "x", numbers)
    set_limits(ax, "x", numbers, log, 0.06)
    ax.set(ylim=(len(rows) - 0.4, -0.6), xlabel=_ERROR + (" (log scale)" if log else ""))
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
        _mean_mark(ax, estimate.mean, row, group.series, estimate.n > 1, size=9)
        name = fit(group.label, room, bold=True)
        weight = "bold" if group.series.colour < 2 else "normal"
        kwargs: dict[str, Any] = {
            "transform": ax.get_yaxis_transform(),
            "va": "center",
            "clip_on": False,
        }
        ax.text(-10 / ax.bbox.width, row, name, ha="right", color=own, weight=weight, **kwargs)
        text = error_text(estimate).replace("pilot (1 seed)", "pilot")
        ax.text(1 + 12 / ax.bbox.width, row, text, ha="left", color=style.INK, **kwargs)
    ax.yaxis.set_major_locator(NullLocator())


def _mean_mark(
    ax: Axes, x: float, y: float, series: Series, filled: bool, size: float = 7.5
) -> None:
    own = style.colour(series)
    face, edge = (own, style.PAPER) if filled else (style.PAPER, own)
    ax.plot([x], [y], style.marker(series), ms=size, mfc=face, mec=edge, mew=1.3, zorder=4)


def _against(
    groups: Sequence[Group], x: str, *, name: str, heading: str, axis: str, note: str
) -> FigureSpec:
    """Returns a figure of error against another quantity, one line an arm."""
    series = list(dict.fromkeys(group.series for group in groups))
    best = "; ".join(
        f"{s.label}: {len(own)} {'setting' if len(own) == 1 else 'settings'}, lowest mean error "
        f"{min(g.mean('error_last') or 0 for g in own):.2f} %"
        for s in series[:12]
        if (own := [g for g in groups if g.series == s])
    )

    def panel(width: float) -> Panel:
        draw = functools.partial(_draw_against, groups, x, axis)
        margins = (58.0, 14.0, 14.0, 46.0)
        return Panel(draw, f"{heading}. {best}.", width, 390.0 * (width / _WIDE) ** 0.3, margins)

    return FigureSpec(
        name=name,
        heading=heading,
        caption=(
            "Large marks: means over seeds, with 95 % confidence intervals; hollow ones are pilots "
            "of one seed. Small dots beside them: single seeds. Lower left is better."
            + (" Dashed: the mean of dense." if _one_dense(groups) else "")
            + (f" The first {MAX_NAMES} arms are named." if len(series) > MAX_NAMES else "")
            + note
        ),
        panels=[panel(_WIDE)],
        narrow=[panel(_NARROW)],
    )


def _draw_against(groups: Sequence[Group], name: str, axis: str, ax: Axes) -> None:
    shown = [(g, x, e) for g in groups if (x := g.mean(name)) and (e := g.estimate("error_last"))]
    xs = [x for _, x, _ in shown]
    errors = [number for _, _, estimate in shown for number in _bounds(estimate)]
    x_log = set_scale(ax, "x", xs, 5.0)
    y_log = set_scale(ax, "y", errors)
    set_limits(ax, "x", xs, x_log, 0.1)
    set_limits(ax, "y", errors, y_log, 0.08)
    ax.set(xlabel=axis + (" (log scale)" if x_log else ""))
    ax.set(ylabel=_ERROR + (" (log scale)" if y_log else ""))
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
            if (sx := quantity(run, name)) and (sy := quantity(run, "error_last")) is not None
        ]
        if len(seeds) > 1:
            dots = ax.plot(*zip(*seeds, strict=True), "o", ms=3.6, color=own, mew=0)[0]
            dots.set(
                ls="none", alpha=0.45 if len(seeds) <= 5 else 0.25, transform=ax.transData + beside
            )
        if estimate.half is not None:
            ends = [estimate.mean - estimate.half, estimate.mean + estimate.half]
            ax.plot([x, x], ends, color=own, lw=2)
        names.setdefault(group.series, []).append((x, estimate.mean))
    for series, points in names.items():
        points.sort()
        own = style.colour(series)
        ax.plot(*zip(*points, strict=True), color=own, lw=1.4, ls=style.dashes(series), alpha=0.8)
    for group, x, estimate in shown:
        _mean_mark(ax, x, estimate.mean, group.series, estimate.n > 1)
    place_labels(
        ax,
        [
            (points, formatting.shorten(series.label, 24), style.colour(series))
            for series, points in list(names.items())[:MAX_NAMES]
        ],
    )
