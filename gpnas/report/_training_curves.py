"""Figures over training: density, growth and pruning, layers, validation metric."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from gpnas.report import _curves, formatting, style
from gpnas.report._figures import NARROW, WIDE, FigureSpec, Panel, columns_for
from gpnas.report._groups import Group, Series, Summary
from gpnas.report._labels import text_width
from gpnas.report._lines import (
    SMALL,
    Frame,
    Line,
    draw_lines,
    draw_rates,
    line_panel,
    plain,
    rounded_percent,
)
from gpnas.report._metric import TaskMetric
from gpnas.report._read import Run

MAX_ARMS = 12
MAX_LINES = 7
MAX_LAYERS = 6
MAX_UNFINISHED = 6
_TITLE_WIDTH = 34  # characters of a panel's title
_OVERLAY = 8


def density_figure(summary: Summary) -> FigureSpec | None:
    """Returns density over training, one panel per arm.

    Args:
      summary: The summary of the report.

    Returns:
      The figure; None if no run has a curve, or all remain dense.
    """
    by_arm: list[tuple[Series, list[Line]]] = []
    for series in summary.series:
        lines = _lines(
            summary, series, _curves.density_curve, lambda c: rounded_percent(float(c.mean[-1]))
        )
        if lines and any(float(line.curve.low.min()) < 1 for line in lines):
            by_arm.append((series, lines))
    shown = by_arm[:MAX_ARMS]
    if not shown:
        return None
    frame = Frame.around([line for _, lines in shown for line in lines], rounded_percent)
    panels = [
        line_panel(lines, frame, series.label, style.colour(series), f"{series.label}, density")
        for series, lines in shown
    ]
    many = summary.is_sweep
    return FigureSpec(
        name="density",
        short="Density",
        heading="Density over training",
        caption=(
            "Fraction of prunable weights that are active, mean over seeds, with the range of "
            "seeds as a band. The number at the end is the density at the last step."
            + (f" At most {MAX_LINES} settings of an arm are drawn." if many else "")
            + frame.note
            + _left_out(summary, [series for series, _ in shown], "stay at 100 % or have no curve")
        ),
        panels=panels,
        columns=columns_for(len(panels)),
    )


def rates_figure(summary: Summary) -> FigureSpec | None:
    """Returns growth (up) and pruning (down) over training, one panel per arm."""
    panels: list[Panel] = []
    shown = []
    for series in summary.series:
        group = _sparsest(summary, series)
        if group is None or len(panels) == MAX_ARMS:
            continue
        grown, pruned = (_curves.rate(group.runs, kind) for kind in ("grown", "pruned"))
        if grown is None or pruned is None or not (grown.high.max() + pruned.high.max()) > 0:
            continue
        shown.append(series)
        label = (
            f"{group.label}: at most {formatting.si(float(grown.mean.max()))} weights per step "
            f"grown and {formatting.si(float(pruned.mean.max()))} pruned."
        )
        draw = functools.partial(draw_rates, grown, pruned, group)
        panels.append(Panel(draw, label, *SMALL, (60.0, 14.0, 26.0, 42.0)))
    if not panels:
        return None
    return FigureSpec(
        name="growth_pruning",
        short="Growth and pruning",
        heading="Growth and pruning over training",
        caption=(
            "Weights per step that were grown (above zero) and pruned (below zero), averaged "
            "between two points of the log and over seeds. Every panel has its own scale, the same "
            "up and down."
            + (" Of each arm the setting with the fewest weights." if summary.is_sweep else "")
            + _left_out(summary, shown, "neither grew nor pruned, or did not count")
        ),
        panels=panels,
        columns=columns_for(len(panels)),
    )


def layers_figure(summary: Summary) -> FigureSpec | None:
    """Returns density over training by arm and layer."""
    rows: list[tuple[Group, list[tuple[str, Line]]]] = []
    hidden = 0
    for series in summary.series:
        group = _sparsest(summary, series)
        if group is None or len(rows) == MAX_ARMS:
            continue
        names = _curves.layer_paths(group.runs)
        hidden = max(hidden, len(names) - MAX_LAYERS)
        lines = [
            (name, Line(curve, series, rounded_percent(float(curve.mean[-1]))))
            for name in _largest(group, names)
            if (curve := _curves.density_curve(group.runs, name)) is not None
        ]
        if any(float(line.curve.low.min()) < 1 for _, line in lines):
            rows.append((group, lines))
    if not rows:
        return None
    frame = Frame.around([line for _, lines in rows for _, line in lines], rounded_percent)
    panels = [
        line_panel(
            [line],
            frame,
            _layer_title(group.series.label, name),
            line.colour,
            f"{group.label}, {name}, density",
            row=group.label,
            height=150.0,
        )
        for group, lines in rows
        for name, line in lines
    ]
    most = max(len(lines) for _, lines in rows)
    return FigureSpec(
        name="density_layers",
        short="Layers",
        heading="Density of each layer over training",
        caption=(
            "Active fraction of the weights of a layer."
            + (" Of each arm the setting with the fewest weights." if summary.is_sweep else "")
            + (f" The {MAX_LAYERS} largest layers; {hidden} more exist." if hidden > 0 else "")
            + frame.note
        ),
        panels=panels,
        columns=most if most <= 4 else 3,
    )


def validation_figure(summary: Summary) -> FigureSpec | None:
    """Returns the validation metric over training: one panel, or one per arm for many lines.

    Args:
      summary: Runs on one problem.

    Returns:
      The figure; None if no run has a curve.
    """
    by_arm = [
        (series, lines)
        for series in summary.series
        if (lines := _lines(summary, series, _curves.validation, lambda c: ""))
    ]
    every = [line for _, lines in by_arm for line in lines]
    if not every:
        return None
    metric = summary.metric
    frame = _metric_frame(metric, every)
    caption = (
        f"{metric.axis(metric.capital)}, on the validation split: mean over seeds, with the range "
        "of seeds as a band. Choices read this curve, never the test set." + frame.note
    )
    what = metric.axis(f"validation {metric.title}")
    heading = f"Validation {metric.title} over training"
    name, short = f"validation_{metric.slug}", "Validation"
    if len(every) <= _OVERLAY:
        named = [
            dataclasses.replace(line, name=formatting.shorten(series.label, 18))
            for series, lines in by_arm
            for line in lines
        ]
        ends = "; ".join(f"{x.name} ends at {plain(float(x.curve.mean[-1]))}" for x in named)

        def panel(width: float) -> Panel:
            right = 24 + max(text_width(line.name) for line in named)
            draw = functools.partial(draw_lines, named, frame, "", style.INK, what)
            margins = (50.0, right, 12.0, 46.0)
            return Panel(draw, f"{heading}, {what}. {ends}.", width, 320.0, margins)

        return FigureSpec(name, heading, caption, [panel(WIDE)], [panel(NARROW)], short=short)
    context = [dataclasses.replace(line, series=None) for line in every[:40]]
    panels = [
        line_panel(
            [*context, *lines], frame, series.label, style.colour(series), f"{series.label}, {what}"
        )
        for series, lines in by_arm[:MAX_ARMS]
    ]
    caption += " Grey: all arms, for comparison."
    columns = columns_for(len(panels))
    return FigureSpec(name, heading, caption, panels, columns=columns, short=short)


def _metric_frame(metric: TaskMetric, lines: Sequence[Line]) -> Frame:
    """Returns a frame for a metric; zero or logarithmic axes only if lower values are better."""
    if metric.better == "lower":
        return Frame.around(lines, plain, ratio=2)
    return Frame.around(lines, plain, ratio=math.inf, zero=False)


def unfinished_figure(summary: Summary) -> FigureSpec | None:
    """Returns the logged density and validation metric of each unfinished run."""
    panels: list[Panel] = []
    for run in sorted(summary.unfinished, key=lambda run: -run.last_step):
        if len({panel.row for panel in panels}) == MAX_UNFINISHED:
            break
        series = summary.series_of(run)
        who = series.label + ("" if run.seed is None else f", seed {run.seed}")
        for curve, unit, what in (
            (_curves.density_curve([run]), rounded_percent, "density"),
            (_curves.validation([run]), plain, f"validation {run.metric.title}"),
        ):
            if curve is None:
                continue
            line = Line(curve, series, unit(float(curve.mean[-1])))
            frame = Frame.around([line], unit, 1.0 if what == "density" else -np.inf)
            panel = line_panel(
                *([line], frame, f"{who} · {what}", line.colour, f"{who}, unfinished, {what}"),
                row=run.name,
                end=run,
            )
            panels.append(panel)
    if not panels:
        return None
    return FigureSpec(
        name="unfinished",
        heading="Logs of unfinished runs",
        caption=(
            "The grey part was planned and not run. A dot marks the last logged point. Each panel "
            "has its own vertical scale."
            + (
                f" The {MAX_UNFINISHED} longest runs are drawn."
                if len(summary.unfinished) > MAX_UNFINISHED
                else ""
            )
        ),
        panels=panels,
        columns=2,
    )


def _lines(
    summary: Summary,
    series: Series,
    curve_of: Callable[[Sequence[Run]], _curves.Curve | None],
    name: Callable[[_curves.Curve], str],
) -> list[Line]:
    """Returns the curves of an arm's settings; a subset if there are many."""
    found = [c for group in summary.of(series) if (c := curve_of(group.runs)) is not None]
    chosen = np.linspace(0, len(found) - 1, min(len(found), MAX_LINES)).round().astype(int)
    return [Line(found[i], series, name(found[i])) for i in chosen]


def _sparsest(summary: Summary, series: Series) -> Group | None:
    groups = [group for group in summary.of(series) if any(map(_curves.curve_points, group.runs))]
    return groups[-1] if groups else None


def _largest(group: Group, names: Sequence[str]) -> list[str]:
    """Returns at most `MAX_LAYERS` of the largest layers, in their original order."""
    sizes: dict[str, float] = {}
    for layer in formatting.items(group.runs[0].record, "layers"):
        shape = layer.get("shape")
        if isinstance(shape, list):
            sides = [formatting.as_number(side) or 0.0 for side in shape]
            sizes[str(layer.get("path"))] = float(np.prod(sides))
    kept = sorted(names, key=lambda name: -sizes.get(name, 0))[:MAX_LAYERS]
    return [name for name in names if name in kept]


def _layer_title(arm: str, path: str) -> str:
    """Returns arm and layer; long paths are cut at the start."""
    path = path if len(path) <= 22 else "…" + path[-21:]
    return f"{formatting.shorten(arm, _TITLE_WIDTH - len(path))} · {path}"


def _left_out(summary: Summary, shown: Sequence[Series], why: str) -> str:
    missing = [s.label for s in summary.series if s not in shown and summary.of(s)]
    if not missing:
        return ""
    names = ", ".join(missing[:6]) + (" and others" if len(missing) > 6 else "")
    return f" Not shown: {names} ({why})."
