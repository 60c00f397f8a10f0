"""Weight sharing: ranking of networks by shared weights, and the networks that searches found.

Records have a field for their part of the study: "alone", a network trained alone, or "method", a
search and the network it found.
"""

import functools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from gpnas.report import (
    Cell,
    Column,
    FigureSpec,
    Group,
    Panel,
    Run,
    Summary,
    Table,
    columns_for,
    formatting,
    stats,
    style,
)

_SIZE = (264.0, 250.0)


def _studies(summary: Summary) -> dict[str, list[Group]]:
    """Groups searches by study; records of supernets include the networks trained alone."""
    found: dict[str, list[Group]] = {}
    for group in summary.parts:
        if group.runs[0].part == "method":
            found.setdefault(group.series.study, []).append(group)
    return found


def method_tables(summary: Summary) -> list[Table]:
    """Returns one table per study: cost of each search, and error of its network after
    retraining."""
    return [_table(study, groups) for study, groups in _studies(summary).items()]


def _table(study: str, groups: Sequence[Group]) -> Table:
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

    def mean(group: Group, *path: str) -> stats.Estimate | None:
        return stats.estimate(formatting.number(run.record, *path) for run in group.runs)

    rows = []
    for group in sorted(groups, key=lambda g: getattr(mean(g, "metrics", "test_error"), "mean", 0)):
        cells = [Cell(group.label, group.label, group.series)]
        for name in ("test_error", "val_error"):
            found = mean(group, "metrics", name)
            cells.append(Cell(stats.estimate_text(found), found.mean if found else None))
        for path in (("final_macs",), ("candidates",), ("cost", "steps"), ("cost", "macs")):
            found = mean(group, *path)
            cells.append(_amount(found.mean if found else None))
        taus = [tau for run in group.runs if (tau := _tau(run)) is not None]
        cells.append(Cell(", ".join(f"{tau:.2f}" for tau in taus) or formatting.MISSING))
        rows.append([*cells, Cell(str(len(group.runs)), len(group.runs))])
    note = (
        "Mean ± half the 95 % interval over seeds. Selected by validation images; each selected"
        " network was trained from scratch for the same number of steps, and the test images"
        " were used once."
    )
    return Table(f"{formatting.shorten(study, 60)}: searches at equal cost", columns, rows, [note])


def _amount(mean: float | None) -> Cell:
    return Cell(formatting.si(mean) if mean else formatting.MISSING, mean)


def _tau(run: Run) -> float | None:
    return formatting.number(run.record, "rank", "tau")


def rank_figures(summary: Summary) -> list[FigureSpec]:
    """Returns one figure per study, one panel per supernet: errors alone against shared weights."""
    specs = []
    for study, groups in _studies(summary).items():
        runs = [(g, run) for g in groups for run in g.runs if len(_pairs(run))]
        if runs:
            panels = [_panel(group, run) for group, run in runs]
            caption = (
                "Validation error of random architectures: to the right with the weights of one"
                " supernet, upwards each trained alone. One panel per seed of the supernet; τ is"
                " Kendall's rank correlation, with its 95 % interval over resampled architectures."
            )
            name, heading = f"shared_{formatting.slug(study)}", f"Shared weights: {study}"
            columns = columns_for(len(panels))
            specs.append(FigureSpec(name, heading, caption, panels, columns=columns))
    return specs


def _panel(group: Group, run: Run) -> Panel:
    title = f"seed {run.seed}"
    tau, low, high = (
        formatting.number(run.record, "rank", name) for name in ("tau", "low", "high")
    )
    if tau is not None:
        title += f": τ {tau:.2f}"
        title += f" ({low:.2f} to {high:.2f})" if low is not None and high is not None else ""
    draw = functools.partial(_draw, _pairs(run), title, style.colour(group.series))
    return Panel(draw, f"{group.label}, {title}", *_SIZE, (54, 12, 26, 44))


def _pairs(run: Run) -> np.ndarray:
    """Returns (networks, 2): error with shared weights and alone, positive."""
    shared, alone = (formatting.dig(run.record, "rank", name) for name in ("shared", "alone"))
    if not isinstance(shared, list) or not isinstance(alone, list):
        return np.empty((0, 2))
    numbers = (
        (formatting.as_number(a), formatting.as_number(b))
        for a, b in zip(shared, alone, strict=False)
    )
    return np.array([(a, b) for a, b in numbers if a and b and min(a, b) > 0]).reshape(-1, 2)


def _draw(pairs: np.ndarray, title: str, colour: str, ax: Axes) -> None:
    ax.plot(pairs[:, 0], pairs[:, 1], "o", ms=5, alpha=0.7, mew=0, color=colour)
    # Networks that cannot learn have large errors; a linear scale would collapse the others.
    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(10, (1, 1.5, 2, 3, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: formatting.tick(value)))
        axis.set_minor_locator(NullLocator())
    ax.set(xlabel="error with shared weights, %", ylabel="error alone, %")
    ax.set_title(title, loc="left", color=colour, weight="bold", fontsize=10)
