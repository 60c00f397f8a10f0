"""Drawings of architectures as graphs."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path

from gpnas.report import formatting, style
from gpnas.report._figures import FigureSpec, Panel, columns_for
from gpnas.report._groups import Group, Summary
from gpnas.report._labels import shorten_to_width, text_width
from gpnas.report._searches import is_maximised, objectives, studies

_SIZE = (300.0, 190.0)
_ROW = 38.0  # pixels from layer to layer
_TEXT = 9.0
_LONGEST = 24  # characters on a node or an edge


class Drawing(NamedTuple):
    """A drawing of nodes and edges.

    Attributes:
      nodes: Position (x, y) and text by name.
      edges: (from, to, text), drawn with an arrow.
      bends: (from, to, offset to the right), drawn as a curve with an arrow.
      size: Size of the panel in pixels.
    """

    nodes: Mapping[str, tuple[float, float, str]]
    edges: Sequence[tuple[str, str, str]]
    bends: Sequence[tuple[str, str, float]] = ()
    size: tuple[float, float] = _SIZE


def cell_201_drawing(architecture: Sequence[str]) -> Drawing:
    """Draws a cell of NAS-Bench-201: four tensors, an operation per edge; omits "none"."""
    pairs = (("0", "1"), ("0", "2"), ("1", "2"), ("0", "3"), ("1", "3"), ("2", "3"))
    nodes = {"0": (0.0, 0.0, "in"), "1": (1.0, 0.9, "1"), "2": (2.0, -0.9, "2"),
             "3": (3.0, 0.0, "out")}  # fmt: skip
    ops = zip(pairs, map(str, architecture), strict=True)
    return Drawing(nodes, [(a, b, op) for (a, b), op in ops if op != "none"])


def chain_drawing(architecture: Sequence[str]) -> Drawing:
    """Draws blocks in rows of four."""
    nodes = {}
    for i, text in enumerate(architecture):
        row, column = divmod(i, 4)
        nodes[str(i)] = (float(column), -float(row), str(text))
    edges = [(str(i), str(i + 1), "") for i in range(len(architecture) - 1)]
    return Drawing(nodes, edges)


def morphable_drawing(architecture: Sequence[Any]) -> Drawing:
    """Draws a morphable network: layers from top to bottom, skip connections as curves beside them.

    Args:
      architecture: (image, layers of (id, op, inputs, width, kernel), classes, next id).
    """
    image, layers, classes, _ = architecture
    texts = {0: "image " + "×".join(map(str, image))}
    texts |= {layer[0]: _layer_text(*layer) for layer in layers}
    texts[-1] = f"{classes} classes"
    rows = {name: row for row, name in enumerate(texts)}
    links = [(source, layer[0]) for layer in layers for source in layer[2]]
    links.append((layers[-1][0], -1))
    nodes = {str(name): (0.0, -float(row), texts[name]) for name, row in rows.items()}
    spans = {(a, b): rows[b] - rows[a] for a, b in links}
    edges = [(str(a), str(b), "") for (a, b), span in spans.items() if span == 1]
    bends = [(str(a), str(b), 0.2 + 0.12 * n) for (a, b), n in spans.items() if n > 1]
    return Drawing(nodes, edges, bends, (_SIZE[0], _ROW * len(rows) + 30))


def _layer_text(_: int, op: str, inputs: Sequence[int], width: int, kernel: int) -> str:
    del inputs
    names = {"add": "add", "concat": "concatenate", "pool": "max pool 2×2"}
    if op in names:
        return names[op]
    return f"{op} {kernel}×{kernel}, {width}" if kernel else f"{op}, {width}"


GRAPHS: Mapping[str, Callable[[Any], Drawing]] = {
    "nas_bench_201": cell_201_drawing,
    "cell_201": cell_201_drawing,
    "nas_bench_macro": chain_drawing,
    "macro": chain_drawing,
    "morphable": morphable_drawing,
}


def drawing_figures(summary: Summary) -> list[FigureSpec]:
    """Returns one figure per study with drawable architectures: the best one of each strategy."""
    found = []
    for study, groups in studies(summary).items():
        draw = GRAPHS.get(str(groups[0].runs[0].config.get("space")))
        if draw is None:
            continue
        made = {group.label: _panel(group, draw) for group in groups}
        panels = [panel for panel in made.values() if panel is not None]
        name = objectives(groups[0].runs[0])[0]
        best = "highest" if is_maximised(groups[0].runs[0], name) else "lowest"
        best += f" {formatting.shorten(name, 60)}"
        caption = f"Best architecture of each strategy: {best} over its seeds."
        if missing := [label for label, panel in made.items() if panel is None]:
            caption += f" Not drawn, as the record has no such architecture: {', '.join(missing)}."
        if panels:
            found.append(
                FigureSpec(f"found_{formatting.slug(study)}", f"Found: {study}", caption, panels,
                           columns=columns_for(len(panels)))
            )  # fmt: skip
    return found


def architecture_figure(space: str, architecture: Any, title: str) -> FigureSpec | None:
    """Draws one architecture.

    Args:
      space: Name of the space, as in the config of a search.
      architecture: An architecture of the space.
      title: Heading of the figure.

    Returns:
      The figure; None for a space whose architectures cannot be drawn.
    """
    if space not in GRAPHS:
        return None
    panel = _graph_panel(GRAPHS[space](architecture), title, style.INK, title)
    return FigureSpec("architecture", title, title, [panel])


def _panel(group: Group, draw: Callable[[Any], Drawing]) -> Panel | None:
    """Draws the best architecture of a strategy; None if no record has a drawable one."""
    name = objectives(group.runs[0])[0]
    fronts = [entry for run in group.runs for entry in formatting.items(run.record, "front")]
    known = [
        (best, entry.get("architecture"))
        for entry in fronts
        if (best := formatting.number(entry, "metrics", name)) is not None
    ]
    if not known:
        return None
    choose = max if is_maximised(group.runs[0], name) else min
    best, architecture = choose(known, key=lambda pair: pair[0])
    try:
        graph = draw(architecture)
    except (TypeError, ValueError, KeyError, IndexError):  # not an architecture of the space
        return None
    title = f"{group.label}: {best:.4g}"
    parts = (formatting.shorten(text, _LONGEST) for _, _, text in _reading(graph))
    label = f"{group.label}: {', '.join(parts)}"
    return _graph_panel(graph, title, style.colour(group.series), label)


def _graph_panel(graph: Drawing, title: str, colour: str, label: str) -> Panel:
    paint = functools.partial(_draw, graph, title, colour)
    return Panel(paint, label, *graph.size, (14, 14, 28, 8))


def _reading(graph: Drawing) -> list[tuple[str, str, str]]:
    """Returns texts on edges, else on nodes, for the text alternative."""
    edges = [edge for edge in graph.edges if edge[2]]
    return edges or [(name, name, text) for name, (_, _, text) in graph.nodes.items()]


def _draw(graph: Drawing, title: str, colour: str, ax: Axes) -> None:
    xs, ys = zip(*((x, y) for x, y, _ in graph.nodes.values()), strict=True)
    right = max((bend for _, _, bend in graph.bends), default=0.0)
    ax.set(xlim=(min(xs) - 0.4, max(xs) + 0.4 + right))
    ax.set(ylim=(min(ys) - 0.6, max(ys) + 0.6))
    ax.set_axis_off()
    title = shorten_to_width(title, ax.get_window_extent().width, bold=True)
    ax.set_title(title, loc="left", color=colour, weight="bold", fontsize=11)
    for start, end, text in graph.edges:
        (x0, y0, _), (x1, y1, _) = graph.nodes[start], graph.nodes[end]
        arrow = {"arrowstyle": "-|>", "color": style.MUTED, "shrinkA": 13, "shrinkB": 13, "lw": 1}
        ax.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
        # At one third of the edge, since edges cross near the middle.
        x, y = x0 + (x1 - x0) / 3, y0 + (y1 - y0) / 3
        if text:
            _text(ax, x, y, text, style.INK, style.PAPER)
    for start, end, bend in graph.bends:
        _curve(ax, graph.nodes[start], graph.nodes[end], bend)
    for x, y, text in graph.nodes.values():
        _text(ax, x, y, text, style.PAPER, colour)


def _curve(
    ax: Axes, start: tuple[float, float, str], end: tuple[float, float, str], bend: float
) -> None:
    """Draws a curve from the right side of one box to the right side of another."""
    pixel = (ax.get_xlim()[1] - ax.get_xlim()[0]) / ax.get_window_extent().width
    (x0, y0), (x1, y1) = (
        (x + pixel * (text_width(text, _TEXT) / 2 + 4), y) for x, y, text in (start, end)
    )
    far = max(x0, x1) + bend
    path = Path([(x0, y0), (far, y0), (far, y1), (x1, y1)], [Path.MOVETO, *[Path.CURVE4] * 3])
    ax.add_patch(
        FancyArrowPatch(
            path=path, arrowstyle="-|>", color=style.MUTED, fill=False, lw=1, mutation_scale=10
        )
    )


def _text(ax: Axes, x: float, y: float, text: str, ink: str, paper: str) -> None:
    box = {"boxstyle": "round,pad=0.3", "facecolor": paper, "edgecolor": "none"}
    text = formatting.shorten(text, _LONGEST)
    ax.text(x, y, text, ha="center", va="center", color=ink, fontsize=_TEXT, bbox=box)
