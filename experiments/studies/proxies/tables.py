"""Table and figure of rank correlations of scores, with intervals."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from gpnas.report import Cell, Column, FigureSpec, Panel, Table, style

_WIDTH, _ROW = 560.0, 30.0


class Ranking(NamedTuple):
    """A score, its rank correlation with the accuracy, and its 95 % interval."""

    name: str
    rho: float
    low: float
    high: float


def ranking_table(
    caption: str,
    rankings: Sequence[Ranking],
    advantages: Sequence[Ranking],
    other: str,
    notes: Sequence[str],
) -> Table:
    """Returns one row per score, the best first.

    Args:
      caption: Caption of the table.
      rankings: Rankings in any order.
      advantages: Differences from the correlation of a reference, with intervals.
      other: Name of the reference.
      notes: Sentences below the table.
    """
    titles = ("Spearman's ρ", "95 % interval", f"minus that of {other}", "95 % interval")
    columns = [Column("score", numeric=False), *map(Column, titles)]
    more = {one.name: _texts(one, "+.3f") for one in advantages}
    rows = [
        [Cell(text) for text in (one.name, *_texts(one), *more.get(one.name, ["", ""]))]
        for one in _ordered(rankings)
    ]
    return Table(caption, columns, rows, notes)


def _texts(one: Ranking, form: str = ".3f") -> list[str]:
    return [f"{one.rho:{form}}", f"{one.low:{form}} to {one.high:{form}}"]


def ranking_figure(name: str, rankings: Sequence[Ranking], caption: str) -> FigureSpec:
    """Returns one bar per score, the best on top, with its interval.

    Args:
      name: File name without extension.
      rankings: Rankings in any order.
      caption: Caption of the figure.
    """
    ordered = _ordered(rankings)
    text = "; ".join(f"{one.name} {one.rho:.2f}" for one in ordered)
    draw = functools.partial(_draw, ordered)
    panel = Panel(draw, text, _WIDTH, _ROW * len(ordered) + 58, (120.0, 60.0, 8.0, 44.0))
    return FigureSpec(name, "Rank correlations", caption, [panel])


def _ordered(rankings: Sequence[Ranking]) -> list[Ranking]:
    return sorted(rankings, key=lambda one: -one.rho)


def _draw(rankings: Sequence[Ranking], ax: Axes) -> None:
    rows = range(len(rankings))
    low = min(0.0, *(one.low for one in rankings))
    ax.set(xlim=(low, 1.0), ylim=(len(rankings) - 0.4, -0.6))
    ax.set_xlabel("Spearman's ρ with the accuracy after training")
    ax.grid(visible=False, axis="y")
    ax.yaxis.set_major_locator(NullLocator())
    colour = style.COLOURS["c2"][0]
    ax.barh(rows, [one.rho for one in rankings], 0.55, color=colour, alpha=0.35)
    for row, one in enumerate(rankings):
        ax.plot([one.low, one.high], [row, row], color=colour, lw=3)
        kwargs: dict[str, Any] = {
            "transform": ax.get_yaxis_transform(),
            "va": "center",
            "clip_on": False,
        }
        ax.text(-0.02, row, one.name, ha="right", color=style.INK, **kwargs)
        ax.text(1.02, row, f"{one.rho:.2f}", ha="left", color=style.INK, **kwargs)
