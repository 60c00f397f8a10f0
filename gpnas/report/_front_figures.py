"""Figures of a front: metric against costs, and layer widths over the main run."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from gpnas.report import _front_results as results
from gpnas.report import formatting, stats, style
from gpnas.report._axes import bounds, mark_estimate, set_limits, set_scale, thin_ticks
from gpnas.report._figures import NARROW, WIDE, FigureSpec, Panel
from gpnas.report._groups import Summary
from gpnas.report._labels import place_labels, shorten_to_width, text_width
from gpnas.report._lines import steps_axis
from gpnas.report._read_front import Front

_MOST_LAYERS = 24
_SMALL = (264.0, 230.0)
_PRUNED, _GROWN = style.COLOURS["c1"][0], style.COLOURS["c3"][0]
_BAND = 0.8  # of a row: width of a layer with all units active
_AXES = {"macs": "MACs per example", "params": "parameters"}
_LATENCIES = {
    "ms1": "ms, batch 1, one thread",
    "ms64": "ms, batch 64, one thread",
}


def figures_of_fronts(summary: Summary) -> list[list[FigureSpec]]:
    """Returns the figures of each front: against size, widths over time, against other costs."""
    made = []
    for number, fronts in enumerate(summary.fronts):
        several = len(summary.fronts) > 1
        ending = f"_{number + 1}" if several else ""
        where = f": {fronts[0].name}" if several else ""
        named = [
            spec.with_ending(ending, where)
            for spec in (_size_figure(fronts), _widths_figure(fronts[0]), _costs_figure(fronts))
            if spec is not None
        ]
        made.append(named)
    return made


def _size_figure(fronts: Sequence[Front]) -> FigureSpec | None:
    metric, rows, size = fronts[0].metric, results.members(fronts), results.size_of(fronts)
    if not _points(fronts, size):
        return None
    others = {row.series for row in rows}
    pilot = len(fronts) == 1
    caption = (
        f"Test {metric.title} at the last step of each network that the run found"
        + (
            ", beside networks of uniformly scaled widths, each trained on its own"
            if results.UNIFORM in others
            else ""
        )
        + (
            "; retrained: the found widths, trained from scratch"
            if results.RETRAINED in others
            else ""
        )
        + f". Labels: cost level of each network, {results.level_meaning(fronts)}. "
        + f"{'Lower' if metric.better == 'lower' else 'Upper'} left is better. "
        + ("Hollow marks: one seed." if pilot else "Bars: 95 % confidence intervals.")
    )
    label = "; ".join(_network_label(row, fronts) for row in rows)

    def panel(width: float) -> Panel:
        draw = functools.partial(_draw_against, fronts, size, _AXES[size], True)
        height = 390.0 * (width / WIDE) ** 0.3
        return Panel(
            draw, f"Test {metric.title}: {label}.", width, height, (58.0, 18.0, 14.0, 46.0)
        )

    heading = f"{metric.capital} against {results.SIZES[size]}"
    return FigureSpec(
        f"front_{size}", heading, caption, [panel(WIDE)], [panel(NARROW)], short="Front"
    )


def _network_label(row: results.FrontNetwork, fronts: Sequence[Front]) -> str:
    metric = fronts[0].metric
    found = metric.with_unit(metric.interval(row.estimate("test", metric)))
    return (
        f"{row.series.label}, {row.name}: {formatting.si(row.mean('macs', metric))} MACs, {found}"
    )


def _costs_figure(fronts: Sequence[Front]) -> FigureSpec | None:
    metric, rows = fronts[0].metric, results.members(fronts)
    other = next(size for size in results.SIZES if size != results.size_of(fronts))
    costs = {other: _AXES[other], **_LATENCIES}
    known = [x for x in costs if len(_points(fronts, x)) == len(rows)]
    panels = [
        Panel(
            functools.partial(_draw_against, fronts, x, costs[x], False),
            f"Test {metric.title} against {costs[x]}: "
            + "; ".join(f"{r.name}: {formatting.significant(r.mean(x, metric))}" for r in rows),
            *_SMALL, (50.0, 12.0, 14.0, 44.0),
        )
        for x in known
    ]  # fmt: skip
    if not panels:
        return None
    timed = len(known) > 1
    name = results.SIZES[other]
    caption = (
        f"The same networks against {name}, and against the latency of their files. Dashed: the"
        " whole network."
        if timed
        else f"The same networks against {name}."
    )
    what = f"{name} and latency" if timed else name
    heading = f"{metric.capital} against {what}"
    columns = len(panels)
    return FigureSpec("front_costs", heading, caption, panels, columns=columns, short="Other costs")


def _points(
    fronts: Sequence[Front], x: str
) -> list[tuple[results.FrontNetwork, float, stats.Estimate]]:
    """Returns each network with its cost and metric, if both are known."""
    metric = fronts[0].metric
    return [
        (row, at, found)
        for row in results.members(fronts)
        if (at := row.mean(x, metric) or 0.0) > 0
        and (found := row.estimate("test", metric)) is not None
    ]


def _draw_against(fronts: Sequence[Front], x: str, axis: str, named: bool, ax: Axes) -> None:
    metric, points = fronts[0].metric, _points(fronts, x)
    reference = results.full_network(fronts).mean(x, metric) if x.startswith("ms") else None
    xs = [at for _, at, _ in points] + ([reference] if reference else [])
    ys = [y for _, _, e in points for y in bounds(e, metric)]
    log = set_scale(ax, "x", xs, 1.0)
    set_limits(ax, "x", xs, log, 0.08)
    set_limits(ax, "y", ys, set_scale(ax, "y", ys, float("inf")), 0.14)
    ax.set(
        xlabel=axis + (" (log scale)" if log else ""), ylabel=metric.axis(f"test {metric.title}")
    )
    thin_ticks(ax)
    if reference:
        ax.axvline(reference, color=style.MUTED, lw=1, ls=(0, (4, 3)))
    for series in (results.UNIFORM, results.RETRAINED, results.FOUND):
        own = [(at, e) for row, at, e in points if row.series is series]
        colour = style.colour(series)
        if not x.startswith("ms"):  # latencies of the levels need not be in order
            xs, ys = [at for at, _ in own], [e.mean for _, e in own]
            ax.plot(xs, ys, color=colour, lw=1.6, alpha=0.8)
        for at, e in own:
            mark_estimate(ax, at, e, series, 8 if named else 6)
    place_labels(ax, _labels(points, named))


def _labels(
    points: Sequence[tuple[results.FrontNetwork, float, Any]], levels: bool
) -> list[tuple[Any, str, str]]:
    """Returns labels: the level beside each found network, and the name beside each line."""
    found = [
        ([(at, e.mean)], row.name, style.colour(row.series))
        for row, at, e in points
        if levels and row.series is results.FOUND
    ]
    names = {row.series: [] for row, _, _ in points}  # type: ignore[var-annotated]
    for row, at, e in points:
        names[row.series].append((at, e.mean))
    # The name is placed beside the second point of a line, where lines diverge if at all.
    lines = [
        ([*own[1:], own[0]], series.label, style.colour(series)) for series, own in names.items()
    ]
    return [*found, *(lines if len(lines) > 1 else [])]


def _widths_figure(front: Front) -> FigureSpec | None:
    layers = _layers(front)
    if not layers:
        return None
    shown = layers[:_MOST_LAYERS]
    grew = any(np.any(np.diff(layer.counts) > 0) for layer in shown)
    caption = (
        "Active units of each layer over the main run, with the full width in grey. A vertical"
        " line is a cost level at which a network branched off; the numbers on it are the widths"
        " of that network."
        + (" Green edge: more units were grown than pruned." if grew else "")
        + (f" The first {_MOST_LAYERS} of {len(layers)} layers." if layers != shown else "")
    )
    label = "; ".join(_layer_label(layer, front) for layer in shown)

    def panel(width: float) -> Panel:
        names = max(
            text_width(name) for layer in shown for name in (layer.name, f"{layer.size} units")
        )
        left = min(1.12 * names + 18, 0.34 * width)
        row = min(max(420.0 / len(shown), 30.0), 76.0)
        draw = functools.partial(_draw_widths, front, shown, left)
        return Panel(draw, f"{label}.", width, row * len(shown) + 76, (left, 26.0, 30.0, 46.0))

    panels, narrow = [panel(WIDE)], [panel(NARROW)]
    return FigureSpec(
        "front_widths", "Widths over the run", caption, panels, narrow, short="Widths"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Layer:
    """A group of units over the main run: (N,) steps and (N,) numbers of active units."""

    name: str
    group: str
    size: int
    steps: np.ndarray
    counts: np.ndarray


def _layers(front: Front) -> list[_Layer]:
    """Returns the logged layers in the order of the network."""
    sizes = formatting.dig(front.record, "whole", "units")
    found = []
    for group, size in (sizes if isinstance(sizes, Mapping) else {}).items():
        points = [
            (step, count)
            for line in front.widths
            if (step := formatting.number(line, "step")) is not None
            and (count := formatting.number(line, "units", group)) is not None
        ]
        if points and formatting.as_number(size):
            steps, counts = np.array([(0.0, points[0][1]), *points]).T
            found.append(_Layer(_short(group), group, int(size), steps, counts))
    return found


def _short(group: str) -> str:
    """Returns the name of a layer: `conv1` of `params/conv1/kernel:3`."""
    parts = re.sub(r":\d+$", "", group).split("/")
    kept = parts[1:] if parts[0] == "params" else parts
    return "/".join(kept[:-1] if len(kept) > 1 else kept)


def _layer_label(layer: _Layer, front: Front) -> str:
    left = [formatting.number(row, "units", layer.group) for row in front.networks("networks")]
    return (
        f"{layer.name}: {' → '.join(formatting.count_text(n) for n in (layer.size, *left))} units"
    )


def _draw_widths(front: Front, layers: Sequence[_Layer], left: float, ax: Axes) -> None:
    last = max(float(layer.steps[-1]) for layer in layers)
    steps_axis(ax, 0, last)
    ax.set(ylim=(len(layers) - 0.5, -0.5), xlabel="training step of the main run")
    ax.grid(visible=False)
    ax.spines["left"].set_visible(False)
    ax.yaxis.set_major_locator(NullLocator())
    edge: Any = {"color": _GROWN, "lw": 2.5, "solid_capstyle": "round"}
    for row, layer in enumerate(layers):
        half = _BAND / 2 * layer.counts / layer.size
        ax.fill_between(
            [0, last], row - _BAND / 2, row + _BAND / 2, color=style.GRID, alpha=0.55, lw=0
        )
        ax.fill_between(layer.steps, row - half, row + half, color=_PRUNED, alpha=0.8, lw=0)
        for i in np.flatnonzero(np.diff(layer.counts) > 0):
            for side in (-1, 1):
                ax.plot(layer.steps[i : i + 2], row + side * half[i : i + 2], **edge)
        _name_row(ax, row, layer, left)
    networks = [(formatting.number(r, "step"), r) for r in front.networks("networks")]
    for step, network in networks:
        if step is not None:
            _draw_level(ax, step, network, layers, front)


def _name_row(ax: Axes, row: int, layer: _Layer, left: float) -> None:
    tall = ax.get_window_extent().height / (ax.get_ylim()[0] + 0.5) > 44
    name = shorten_to_width(layer.name, left - 14, bold=True)
    at: Any = {"xy": (0, row), "xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    how: Any = {"ha": "right", "annotation_clip": False}
    ax.annotate(name, **at, xytext=(-10, 2 if tall else 0), va="bottom" if tall else "center",
                color=style.INK, weight="bold", **how)  # fmt: skip
    if tall:
        text = formatting.plural(layer.size, "unit")
        ax.annotate(text, **at, xytext=(-10, -2), va="top", color=style.MUTED, size=9.5, **how)


def _draw_level(
    ax: Axes, step: float, network: Mapping[str, Any], layers: Sequence[_Layer], front: Front
) -> None:
    """Draws the line of a branch with its widths, and its level above."""
    ax.axvline(step, color=style.INK, lw=1, clip_on=False)
    narrow = ax.get_window_extent().width / len(front.networks("networks")) < 100
    level = formatting.number(network, "level") or 0.0
    text = results.level_text(front, level, unit=not narrow)
    at: Any = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    ax.annotate(text, (step, 1), xytext=(0, 7), ha="center", color=style.INK, weight="bold",
                annotation_clip=False, **at)  # fmt: skip
    box = {
        "boxstyle": "round,pad=0.25,rounding_size=0.4",
        "fc": style.PAPER,
        "ec": style.INK,
        "lw": 0.8,
    }
    for row, layer in enumerate(layers):
        count = formatting.number(network, "units", layer.group)
        ax.text(step, row, formatting.count_text(count), ha="center", va="center", color=style.INK,
                size=10, bbox=box, clip_on=False, zorder=5)  # fmt: skip
