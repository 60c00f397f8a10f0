"""Weight sharing: ranking of networks by shared weights, and the networks that searches found.

Records have a field for their part of the study: "alone", a network trained alone, or "method", a
search and the network it found.
"""

import functools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from experiments.studies.densities import Record
from gpnas.report import (
    Cell,
    Column,
    FigureSpec,
    Panel,
    Table,
    columns_for,
    formatting,
    stats,
    style,
)

_SIZE = (264.0, 250.0)
_COLOUR = style.COLOURS["c6"][0]


def method_table(study: str, records: Sequence[Record]) -> Table:
    """Tabulates the cost of each search, and the error of its network after retraining.

    Args:
      study: Name of the study.
      records: Records of all parts of the study.
    """
    columns = [
        Column("search", numeric=False),
        Column("test error, %"),
        Column("validation error, %"),
        Column("its MACs", help="Of the network found, for one image."),
        Column("networks", help="Read by the search."),
        Column("steps", help="Of the search; a forward pass is a third of one."),
        Column("search MACs", help="Of all its forward and backward passes."),
        Column("Kendall's τ", help="Between errors with shared weights and alone, by seed."),
        Column("seeds"),
    ]
    searches = _searches(records)
    arms = dict.fromkeys(record["arm"] for record in searches)
    by_arm = {arm: [record for record in searches if record["arm"] == arm] for arm in arms}

    def mean(own: Sequence[Record], *path: str) -> stats.Estimate | None:
        return stats.estimate(formatting.number(record, *path) for record in own)

    def test_error(arm: str) -> float:
        return getattr(mean(by_arm[arm], "errors", "test_error"), "mean", 0)

    rows = []
    for arm in sorted(arms, key=test_error):
        own, cells = by_arm[arm], [Cell(arm, arm)]
        for name in ("test_error", "val_error"):
            found = mean(own, "errors", name)
            cells.append(Cell(stats.estimate_text(found), found.mean if found else None))
        for path in (("final_macs",), ("candidates",), ("cost", "steps"), ("cost", "macs")):
            found = mean(own, *path)
            cells.append(_amount(found.mean if found else None))
        taus = [tau for record in own if (tau := _tau(record)) is not None]
        cells.append(Cell(", ".join(f"{tau:.2f}" for tau in taus) or formatting.MISSING))
        rows.append([*cells, Cell(str(len(own)), len(own))])
    note = (
        "Mean ± half the 95 % interval over seeds. Selected by validation images; each selected"
        " network was trained from scratch for the same number of steps, and the test images"
        " were used once."
    )
    return Table(f"{formatting.shorten(study, 60)}: searches at equal cost", columns, rows, [note])


def _searches(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record["part"] == "method"]


def _amount(mean: float | None) -> Cell:
    return Cell(formatting.si(mean) if mean else formatting.MISSING, mean)


def _tau(record: Record) -> float | None:
    return formatting.number(record, "rank", "tau")


def rank_figures(study: str, records: Sequence[Record]) -> list[FigureSpec]:
    """Returns a figure with one panel per supernet: errors alone against shared weights."""
    panels = [_panel(record) for record in _searches(records) if len(_pairs(record))]
    if not panels:
        return []
    caption = (
        "Validation error of random architectures: to the right with the weights of one"
        " supernet, upwards each trained alone. One panel per seed of the supernet; τ is"
        " Kendall's rank correlation, with its 95 % interval over resampled architectures."
    )
    name, heading = f"shared_{formatting.slug(study)}", f"Shared weights: {study}"
    return [FigureSpec(name, heading, caption, panels, columns=columns_for(len(panels)))]


def _panel(record: Record) -> Panel:
    title = f"seed {record['seed']}"
    tau, low, high = (formatting.number(record, "rank", name) for name in ("tau", "low", "high"))
    if tau is not None:
        title += f": τ {tau:.2f}"
        title += f" ({low:.2f} to {high:.2f})" if low is not None and high is not None else ""
    draw = functools.partial(_draw, _pairs(record), title)
    return Panel(draw, f"{record['arm']}, {title}", *_SIZE, (54, 12, 26, 44))


def _pairs(record: Record) -> np.ndarray:
    """Returns (networks, 2): error with shared weights and alone, positive."""
    shared, alone = (formatting.dig(record, "rank", name) for name in ("shared", "alone"))
    if not isinstance(shared, list) or not isinstance(alone, list):
        return np.empty((0, 2))
    numbers = (
        (formatting.as_number(a), formatting.as_number(b))
        for a, b in zip(shared, alone, strict=False)
    )
    return np.array([(a, b) for a, b in numbers if a and b and min(a, b) > 0]).reshape(-1, 2)


def _draw(pairs: np.ndarray, title: str, ax: Axes) -> None:
    ax.plot(pairs[:, 0], pairs[:, 1], "o", ms=5, alpha=0.7, mew=0, color=_COLOUR)
    # Networks that cannot learn have large errors; a linear scale would collapse the others.
    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(10, (1, 1.5, 2, 3, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: formatting.tick(value)))
        axis.set_minor_locator(NullLocator())
    ax.set(xlabel="error with shared weights, %", ylabel="error alone, %")
    ax.set_title(title, loc="left", color=_COLOUR, weight="bold", fontsize=10)
