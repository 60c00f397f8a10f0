"""Test errors at the length chosen on validation, by training FLOPs."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from experiments.studies.coupling.tables import error_cell, training_flops, validation_error
from experiments.studies.coupling_lengths.config import BUDGETS, EPOCHS, PLAIN, SOLVED
from experiments.studies.densities import Record, error, mean
from gpnas.report import Cell, Column, FigureSpec, Panel, Table, place_labels, stats, style

_NEAR = 0.03  # largest relative difference between a run's measured cost and its budget
_ASIDE = 1.015  # horizontal factor between markers of two methods at one cost
_ERRORS = (12.5, 11.5, 11.0)  # in %
_SHADES = ("c1", "c0", "c2", "c3", "c4", "c5", "c6", "c7")


def budget_table(records: Sequence[Record]) -> Table:
    """Tabulates each method's test error at each budget, with the length chosen on validation.

    Args:
      records: Records of `coupling_lengths`.
    """
    rows = {}
    for arm in SOLVED:
        found = _best(records, arm)
        rows[arm] = [_cell(found.get(budget, [])) for budget in BUDGETS]
    note = (
        "Columns: training FLOPs over those of a dense run of 10 epochs. Test error in % at the"
        " last step, mean ± half the 95 % interval over seeds; in parentheses the epochs, those"
        " of lowest mean validation error at this budget."
    )
    titles = [f"{budget:g}" for budget in BUDGETS]
    return _by_arm("Errors by training FLOPs, length free", titles, rows, note)


def length_table(records: Sequence[Record]) -> Table:
    """Tabulates the test error of methods whose cost depends only on the length of the run.

    Args:
      records: Records of `coupling_lengths`.
    """
    rows = {}
    for arm in PLAIN:
        found = _lengths(records, arm)
        rows[arm] = [error_cell(found.get(number, [])) for number in EPOCHS]
    note = (
        "Test error in % at the last step, mean ± half the 95 % interval over seeds; in parentheses"
        " training FLOPs over those of a dense run of 10 epochs."
    )
    return _by_arm("Errors by length", [f"{number} epochs" for number in EPOCHS], rows, note)


def cheapest_table(records: Sequence[Record]) -> Table:
    """Tabulates the least training FLOPs with which each method's mean test error is small enough.

    Args:
      records: Records of `coupling_lengths`.
    """
    rows = {
        arm: [_cheapest(own, most) for most in _ERRORS] for arm, own in _points(records).items()
    }
    note = (
        "Training FLOPs over those of a dense run of 10 epochs, of the cheapest run in the two"
        " tables above with such a mean test error; in parentheses its epochs."
    )
    titles = [f"≤ {most:g} %" for most in _ERRORS]
    return _by_arm("Least training FLOPs for a test error", titles, rows, note)


def _by_arm(
    caption: str, titles: Sequence[str], rows: Mapping[str, Sequence[Cell]], note: str
) -> Table:
    columns = [Column("arm", numeric=False), *map(Column, titles)]
    return Table(caption, columns, [[Cell(arm), *cells] for arm, cells in rows.items()], [note])


def flops_figure(records: Sequence[Record]) -> FigureSpec:
    """Plots test error against training FLOPs of each method at its best lengths.

    Args:
      records: Records of `coupling_lengths`.
    """
    points = {
        arm: [(training_flops(own), stats.estimate(map(error, own))) for own in groups]
        for arm, groups in _points(records).items()
    }
    ends = "; ".join(f"{arm} {stats.estimate_text(own[-1][1])} %" for arm, own in points.items())
    panel = Panel(
        functools.partial(_draw, points),
        f"Test error at the largest cost: {ends}.",
        640.0, 400.0, (58.0, 14.0, 26.0, 46.0),
    )  # fmt: skip
    caption = (
        "Means over seeds with 95 % intervals. Methods whose density path can be chosen: at each"
        " cost the length that is best on validation; the others: runs of 5 to 80 epochs."
        " Markers of one cost are drawn side by side."
    )
    return FigureSpec("error_flops", "Test error against training FLOPs", caption, [panel])


def _draw(points: Mapping[str, list[tuple[float, Any]]], ax: Axes) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ticks = (0.01, *BUDGETS, 1, 2, 4, 8)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set(xlabel="training FLOPs ÷ dense run of 10 epochs (log scale)", ylabel="test error (%)")
    labels = []
    for i, (shade, (arm, own)) in enumerate(zip(_SHADES, points.items(), strict=False)):
        colour = style.COLOURS[shade][0]
        own = [(x * _ASIDE**i, found) for x, found in own]
        xs, ys = [x for x, _ in own], [found.mean for _, found in own]
        ax.plot(xs, ys, marker="o", color=colour, ms=5, mec=style.PAPER, lw=1.8)
        for x, found in own:
            if found.half is not None:
                ax.plot([x, x], [found.mean - found.half, found.mean + found.half], color=colour)
        labels.append((list(zip(xs, ys, strict=True))[::-1], arm, colour))
    place_labels(ax, labels)


def _points(records: Sequence[Record]) -> dict[str, list[list[Record]]]:
    """Returns each method's records by setting, at its best lengths; the cheapest come first."""
    found = {}
    for arm in dict.fromkeys(record["arm"] for record in records):
        groups = _best(records, arm) if arm in SOLVED else _lengths(records, arm)
        found[arm] = sorted(groups.values(), key=training_flops)
    return found


def _best(records: Sequence[Record], arm: str) -> dict[float, list[Record]]:
    """Returns `{budget: records of the length with the lowest mean validation error}`."""
    found = {}
    for budget in BUDGETS:
        near = [r for r in records if abs(training_flops([r]) / budget - 1) < _NEAR]
        if lengths := _lengths(near, arm):
            found[budget] = min(lengths.values(), key=lambda own: mean(own, validation_error))
    return found


def _lengths(records: Sequence[Record], arm: str) -> dict[int, list[Record]]:
    """Returns `{epochs: records of the arm}`."""
    found: dict[int, list[Record]] = {}
    for record in records:
        if record["arm"] == arm:
            found.setdefault(record["config"]["train"]["epochs"], []).append(record)
    return found


def _cheapest(groups: Sequence[Sequence[Record]], most: float) -> Cell:
    for own in groups:
        if mean(own, error) <= most:
            epochs = own[0]["config"]["train"]["epochs"]
            return Cell(f"{training_flops(own):.3f}", detail=f"{epochs} epochs")
    return Cell("–")


def _cell(own: Sequence[Record]) -> Cell:
    if not own:
        return Cell("–")
    epochs = own[0]["config"]["train"]["epochs"]
    return Cell(stats.estimate_text(stats.estimate(map(error, own))), detail=f"{epochs} epochs")
