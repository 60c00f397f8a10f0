"""Figures of the study: error against MACs, and layer widths over the main run."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from experiments.studies.front.tables import Records, errors_by_arm
from gpnas.report import FigureSpec, Panel, formatting, place_labels, stats, style

_SIZE = (420.0, 320.0)
_MARGINS = (58.0, 14.0, 26.0, 46.0)
_ROWS = {
    "uniform widths": ("c0", "s"),
    "random units": ("c5", "D"),
    "front, from scratch": ("c2", "^"),
    "front": ("c1", "o"),
}
_LAYERS = ("c3", "c2", "c4", "c1")


def front_figure(
    records: Records, rates: Mapping[str, float], levels: Sequence[float]
) -> FigureSpec:
    """Plots each row's test error against MACs, and the active units of the first seed's front."""
    known = {name: seeds for name, seeds in errors_by_arm(records, rates).items() if name in _ROWS}
    most = max(len(seeds) for seeds in known.values())
    rows = {name: seeds for name, seeds in known.items() if len(seeds) == most}
    points = {
        name: [(level, stats.estimate([own[level] for own in seeds.values()])) for level in levels]
        for name, seeds in rows.items()
    }
    first = next(r for r in records if r["arm"] == "front" and r["rate"] == rates["networks"])
    least, widths = min(levels), first["networks"][-1]["units"]
    text = "; ".join(f"{name} {stats.estimate_text(own[-1][1])} %" for name, own in points.items())
    left = "-".join(str(n) for n in widths.values())
    panels = [
        Panel(
            functools.partial(_draw_errors, points),
            f"Test error at {100 * least:g} % of the MACs: {text}.",
            *_SIZE, _MARGINS,
        ),
        Panel(
            functools.partial(_draw_widths, first),
            f"Active units over the main run; widths at {100 * least:g} %: {left}.",
            *_SIZE, _MARGINS,
        ),
    ]  # fmt: skip
    caption = (
        "Left: test error against MACs, relative to the whole network; means over seeds with 95 %"
        " intervals. *From scratch*: the networks of the front, trained anew; *random units*: units"
        " are pruned at random. Right: active fraction of the units of each layer over the main run"
        " of the first seed; branches begin at the vertical lines."
    )
    return FigureSpec("front", "One run, a front of networks", caption, panels, columns=2)


def _draw_errors(points: Mapping[str, list[tuple[float, Any]]], ax: Axes) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    levels = [level for level, _ in next(iter(points.values()))]
    ax.set_xticks(levels, [f"{100 * level:g} %" for level in levels])
    ax.set(xlabel="MACs ÷ whole network (log scale)", ylabel="test error, %")
    ax.set_xlim(min(levels) / 1.3, max(levels) * 1.3)
    labels = []
    for name, (shade, marker) in _ROWS.items():
        own, colour = points.get(name, []), style.COLOURS[shade][0]
        xs, ys = [x for x, _ in own], [found.mean for _, found in own]
        ax.plot(xs, ys, marker=marker, color=colour, ms=6, mec=style.PAPER, lw=1.8)
        for x, found in own:
            if found.half is not None:
                ax.plot([x, x], [found.mean - found.half, found.mean + found.half], color=colour)
        labels.append((list(zip(xs, ys, strict=True))[::-1], name, colour))
    place_labels(ax, [label for label in labels if label[0]])


def _draw_widths(record: Mapping[str, Any], ax: Axes) -> None:
    steps = [0, *(at["step"] for at in record["widths"])]
    labels = []
    for (group, size), shade in zip(record["whole"]["units"].items(), _LAYERS, strict=False):
        share = [100.0, *(100 * at["units"].get(group, size) / size for at in record["widths"])]
        colour = style.COLOURS[shade][0]
        ax.plot(steps, share, color=colour, drawstyle="steps-post")
        labels.append((list(zip(steps, share, strict=True))[::-1], group.split("/")[1], colour))
    for network in record["networks"]:
        ax.axvline(network["step"], color=style.MUTED, lw=1, ls=(0, (4, 3)))
        text = f"{100 * network['level']:g} %"
        ax.annotate(text, (network["step"], 1), xycoords=("data", "axes fraction"),
                    xytext=(0, 6), textcoords="offset points", ha="center",
                    color=style.MUTED)  # fmt: skip
    ax.set(xlabel="step of the main run", ylabel="active units, %", ylim=(0, 106))
    ax.xaxis.set_major_formatter(lambda value, _: formatting.tick(value))
    place_labels(ax, labels)
