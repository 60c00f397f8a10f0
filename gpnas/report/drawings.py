"""Architectures as graphs: what each search found."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from gpnas.report import style, values
from gpnas.report.figures import FigureSpec, Panel, columns_for
from gpnas.report.groups import Group, Summary
from gpnas.report.searches import objectives, studies

_SIZE = (300.0, 190.0)


class Graph(NamedTuple):
    """What is drawn.

    Attributes:
      nodes: Place (x, y) and text by name.
      edges: (from, to, text), drawn with an arrow.
    """

    nodes: Mapping[str, tuple[float, float, str]]
    edges: Sequence[tuple[str, str, str]]


def cell_201(architecture: Sequence[str]) -> Graph:
    """A cell of NAS-Bench-201: four tensors, an operation on each edge; "none" is left out."""
    pairs = (("0", "1"), ("0", "2"), ("1", "2"), ("0", "3"), ("1", "3"), ("2", "3"))
    nodes = {"0": (0.0, 0.0, "in"), "1": (1.0, 0.9, "1"), "2": (2.0, -0.9, "2"),
             "3": (3.0, 0.0, "out")}  # fmt: skip
    edges = [(a, b, op) for (a, b), op in zip(pairs, architecture, strict=True) if op != "none"]
    return Graph(nodes, edges)


def chain(architecture: Sequence[str]) -> Graph:
    """One block after the other, in rows of four."""
    nodes = {}
    for i, text in enumerate(architecture):
        row, column = divmod(i, 4)
        nodes[str(i)] = (float(column), -float(row), text)
    edges = [(str(i), str(i + 1), "") for i in range(len(architecture) - 1)]
    return Graph(nodes, edges)


GRAPHS: Mapping[str, Callable[[Any], Graph]] = {
    "nas_bench_201": cell_201,
    "nas_bench_macro": chain,
}


def drawing_figures(summary: Summary) -> list[FigureSpec]:
    """One figure a study whose architectures can be drawn: the best that each strategy found."""
    found = []
    for study, groups in studies(summary).items():
        draw = GRAPHS.get(str(groups[0].runs[0].config.get("space")))
        if draw is None:
            continue
        panels = [_panel(group, draw) for group in groups]
        name = objectives(groups[0].runs[0])[0]
        caption = f"What each strategy found: the lowest {name} over its seeds."
        found.append(
            FigureSpec(f"found_{study}", f"Found: {study}", caption, panels,
                       columns=columns_for(len(panels)))
        )  # fmt: skip
    return found


def _panel(group: Group, draw: Callable[[Any], Graph]) -> Panel:
    name = objectives(group.runs[0])[0]
    fronts = [entry for run in group.runs for entry in values.items(run.record, "front")]
    best = min(fronts, key=lambda entry: entry["metrics"][name])
    title = f"{group.label}: {best['metrics'][name]:.4g}"
    told = f"{group.label}: {' '.join(map(str, best['architecture']))}"
    paint = functools.partial(_draw, draw(best["architecture"]), title, style.colour(group.series))
    return Panel(paint, told, *_SIZE, (14, 14, 28, 8))


def _draw(graph: Graph, title: str, colour: str, ax: Axes) -> None:
    xs, ys = zip(*((x, y) for x, y, _ in graph.nodes.values()), strict=True)
    ax.set(xlim=(min(xs) - 0.4, max(xs) + 0.4), ylim=(min(ys) - 0.6, max(ys) + 0.6))
    ax.set_axis_off()
    ax.set_title(title, loc="left", color=colour, weight="bold", fontsize=11)
    for start, end, text in graph.edges:
        (x0, y0, _), (x1, y1, _) = graph.nodes[start], graph.nodes[end]
        arrow = {"arrowstyle": "-|>", "color": style.MUTED, "shrinkA": 13, "shrinkB": 13, "lw": 1}
        ax.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
        # A third of the way: edges that cross do so near the middle.
        x, y = x0 + (x1 - x0) / 3, y0 + (y1 - y0) / 3
        _text(ax, x, y, text, style.INK, style.PAPER)
    for x, y, text in graph.nodes.values():
        _text(ax, x, y, text, style.PAPER, colour)


def _text(ax: Axes, x: float, y: float, text: str, ink: str, paper: str) -> None:
    box = {"boxstyle": "round,pad=0.3", "facecolor": paper, "edgecolor": "none"}
    ax.text(x, y, text, ha="center", va="center", color=ink, fontsize=9, bbox=box)
