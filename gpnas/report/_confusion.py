"""Confusion matrix of one run: a heat map, the most confused pairs, and their images."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

from gpnas.report import _first_layer, formatting, style
from gpnas.report._figures import NARROW, WIDE, FigureSpec, Panel
from gpnas.report._groups import Series, Summary
from gpnas.report._labels import text_width
from gpnas.report._table import Cell, Column, Table

MAX_CLASSES = 100
MAX_PAIRS = 10
MAX_CELLS = 600
_SIDE = 400.0  # maximum, of the map
_STRONGEST = 0.4  # opacity with a text contrast of 4.5 in light and dark mode
_COLUMNS = 6  # images of a pair
_CAPTION = "Test images of the most confused classes, the first of each pair in the data."
_SHORT = 16  # characters of a class's name in the figure


def confusion_figure(summary: Summary) -> FigureSpec | None:
    """Returns the confusion matrix as a figure, if the report has a single run.

    Args:
      summary: The summary of the report.

    Returns:
      The figure; None unless there is exactly one finished run and its record has counts.
    """
    found = _confusion(summary)
    if found is None:
        return None
    counts, names = found
    series = summary.groups[0].series
    worst = "; ".join(f"{names[i]} as {names[j]}: {counts[i, j]:,}" for i, j in _pairs(counts)[:3])
    right = int(np.trace(counts))
    label = f"Predicted classes: {right:,} of {int(counts.sum()):,} are right. {worst}".strip()
    cells = len(_pairs(counts))
    wrong = int(np.count_nonzero(counts)) - int(np.count_nonzero(np.diag(counts)))

    def panel(width: float, named: int) -> Panel:
        shown = _shown(names, named)
        left = 34 + max(text_width(name) for name in shown)
        side = min(width - left - 12, _SIDE)
        margins = (left, width - left - side, 10.0, left)
        draw = functools.partial(_draw, counts, shown, series)
        return Panel(draw, label, width, side + 10.0 + left, margins)

    return FigureSpec(
        name="confusion",
        heading="Confused classes",
        short="Confusion",
        caption=(
            "Test examples by class (row) and by the class predicted by the network of the last"
            " step (column). The diagonal is correct; elsewhere, stronger colour means more"
            " examples."
            + (f" The {cells} largest of {wrong} mistakes are drawn." if cells < wrong else "")
        ),
        panels=[panel(WIDE, 30)],
        narrow=[panel(NARROW, 20)],
    )


def confused_table(summary: Summary) -> Table | None:
    """Returns the most confused pairs of classes, if the report has a single run."""
    found = _confusion(summary)
    pairs = _pairs(found[0])[:MAX_PAIRS] if found else []
    if found is None or not pairs:
        return None
    counts, names = found
    rows = [
        [
            Cell(formatting.shorten(names[i], 60), names[i]),
            Cell(formatting.shorten(names[j], 60), names[j]),
            Cell(f"{counts[i, j]:,}", int(counts[i, j])),
            Cell(formatting.percent_text(share := counts[i, j] / counts[i].sum()), float(share)),
        ]
        for i, j in pairs
    ]
    columns = [
        Column("class", numeric=False),
        Column("taken for", numeric=False),
        Column("test examples"),
        Column("of the class", help="Share of the test examples of the class"),
    ]
    return Table("Most confused", columns, rows)


def mistake_cards(summary: Summary) -> dict[str, Any] | None:
    """Returns images of the most confused pairs of classes, if the report has a single run.

    Args:
      summary: The summary of the report.

    Returns:
      `caption` and `cards` for page.html; None if the run has no images.
    """
    found = _confusion(summary)
    mistakes = summary.finished[0].mistakes if found else None
    if found is None or mistakes is None:
        return None
    counts, names = found
    cards = []
    for i, j in _pairs(counts)[:MAX_PAIRS]:
        own = mistakes.images[(mistakes.classes == i) & (mistakes.predicted == j)][:_COLUMNS]
        if not 0 < len(own) <= counts[i, j]:
            continue
        height, width = own.shape[1:3]
        strip = Image.new("RGBA", (_COLUMNS * width, height))  # the same scale for all
        for k, pixels in enumerate(own[:, :, :, 0] if own.shape[3] == 1 else own):
            strip.paste(Image.fromarray(pixels), (k * width, 0))
        uri = _first_layer.png_uri(strip)
        image = {
            "light": uri,
            "dark": uri,
            "width": strip.width,
            "height": strip.height,
            "what": "test images",
            "caption": f"{len(own)} of {counts[i, j]:,} test images",
        }
        name = formatting.shorten(f"{names[i]}, taken for {names[j]}", 80)
        cards.append({"name": name, "colour": 0, "images": [image]})
    return {"caption": _CAPTION, "cards": cards} if cards else None


def _confusion(summary: Summary) -> tuple[np.ndarray, list[str]] | None:
    """Returns the counts of the only finished run, (classes, classes), and the classes' names."""
    runs = summary.finished
    if len(runs) != 1 or not isinstance(runs[0].record, Mapping):
        return None
    counts = _counts(runs[0].record.get("confusion"))
    if counts is None:
        return None
    names = formatting.strings(runs[0].record, "class_names")
    return counts, names if len(names) == len(counts) else [str(i) for i in range(len(counts))]


def _counts(value: Any) -> np.ndarray | None:
    """Returns counts of a record as an array; None unless they are a square matrix of counts."""
    if not isinstance(value, list) or not 2 <= len(value) <= MAX_CLASSES:
        return None
    for row in value:
        if not isinstance(row, list) or len(row) != len(value):
            return None
        if any(type(n) is not int or not 0 <= n < 2**40 for n in row):
            return None
    return np.array(value, np.int64)


def _pairs(counts: np.ndarray) -> list[tuple[int, int]]:
    """Returns (class, prediction) of the largest off-diagonal counts, in descending order."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_CELLS]
    found = [divmod(int(at), len(counts)) for at in order]
    return [(i, j) for i, j in found if wrong[i, j]]


def _shown(names: Sequence[str], most: int) -> list[str]:
    """Returns shortened names; only some numbers if there are more classes than `most`."""
    if len(names) <= most:
        return [formatting.shorten(name, _SHORT) for name in names]
    return [str(i) if i % 10 == 0 else "" for i in range(len(names))]


def _draw(counts: np.ndarray, names: Sequence[str], series: Series, ax: Axes) -> None:
    n = len(counts)
    ax.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), xlabel="predicted", ylabel="class")
    ax.grid(visible=False)
    named = [i for i, name in enumerate(names) if name]
    ax.set_xticks(named, [names[i] for i in named], rotation=90)
    ax.set_yticks(named, [names[i] for i in named])
    ax.tick_params(length=0)
    cells = _pairs(counts)
    most = counts[cells[0]] if cells else 1
    shares = {(i, j): _STRONGEST * counts[i, j] / most for i, j in cells}
    for at, share in shares.items():
        _fill(ax, at, style.colour(series), share)
    for i in range(n):
        _fill(ax, (i, i), style.GRID, 1.0)
    room = ax.get_window_extent().width / n - 3
    if max(text_width(str(counts.max())), 12) > room:
        return
    for i, j in [*cells, *((i, i) for i in range(n))]:
        ax.text(j, i, str(counts[i, j]), ha="center", va="center", color=style.INK)


def _fill(ax: Axes, at: tuple[int, int], colour: str, alpha: float) -> None:
    row, column = at
    ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fc=colour, ec="none", alpha=alpha))
