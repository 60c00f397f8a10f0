"""Architecture searches: best result so far by number of evaluations."""

import collections
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import moocore
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gpnas.report import formatting, stats, style
from gpnas.report._figures import NARROW, WIDE, FigureSpec, Panel
from gpnas.report._groups import Group, Summary
from gpnas.report._labels import edge_labels, shorten_to_width, text_width
from gpnas.report._read import Run
from gpnas.report._table import Cell, Column, Table

# Of a search, after each of several lengths: evaluations, or training steps if it trains.
Measure = Callable[[Run, Sequence[float]], list[float | None]]
_EVALUATIONS = "evaluations"
_HEIGHT = 250.0
_POINTS = 120  # of a curve
_MARKS = tuple(m * 10**n for n in range(1, 6) for m in (1, 2, 5))  # columns of a table
_FEW = 50  # up to this many evaluations, all are drawn on a linear axis


def objectives(run: Run) -> list[str]:
    """Returns the names of the objectives, which are minimised unless `is_maximised`."""
    return formatting.strings(run.config, "objectives")


def is_maximised(run: Run, objective: str) -> bool:
    """Returns whether higher values of an objective are better; it is then the only one."""
    return objective in formatting.strings(run.record, "maximised")


def shown(run: Run) -> list[str]:
    """Returns the names of the objectives, then of the other reported metrics."""
    return list(dict.fromkeys([*objectives(run), *formatting.strings(run.config, "reports")]))


def evaluations(run: Run) -> int:
    """Returns the number of distinct evaluations, or the cost in the search's own unit."""
    return max(1, int(_length_at(run.record or {}, "evaluations")), *map(int, _lengths(run)))


def _lengths(run: Run) -> list[float]:
    """Returns the length of a search up to each entry of its course, which increases."""
    return [_length_at(entry, "evaluation") for entry in formatting.items(run.record, "course")]


def _length_at(entry: Mapping[str, Any], evaluations: str) -> float:
    """Returns the training steps up to an entry, or the evaluations if nothing is trained."""
    steps = formatting.number(entry, "steps")
    return (formatting.number(entry, evaluations) or 0.0) if steps is None else steps


def search_unit(run: Run) -> str:
    """Returns the unit of a search's length: its record's `unit`, else steps or evaluations."""
    own = "training steps" if formatting.number(run.record, "steps") is not None else _EVALUATIONS
    return formatting.shorten(str(formatting.dig(run.record, "unit") or own), 40)


def best_after(metric: str, run: Run, counts: Sequence[float]) -> list[float | None]:
    """Returns a metric of the best candidate up to each length; for one objective.

    Args:
      metric: Name of the metric.
      run: A search.
      counts: Lengths in evaluations, or in training steps if it trains.
    """
    progress = formatting.items(run.record, "course")
    known = [None, *(formatting.number(entry, "metrics", metric) for entry in progress)]
    return [known[n] for n in np.searchsorted(_lengths(run), counts, side="right")]


def points_of(run: Run, entries: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Returns (points, objectives) of the entries that have all objectives."""
    names = objectives(run)
    rows = [[formatting.number(entry, "metrics", name) for name in names] for entry in entries]
    return np.array([row for row in rows if None not in row], np.float64).reshape(-1, len(names))


def box(runs: Sequence[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Returns minimum and maximum of each objective over the fronts of all runs."""
    points = np.concatenate(
        [points_of(run, formatting.items(run.record, "course")) for run in runs]
    )
    if not len(points):
        return np.zeros(points.shape[1]), np.ones(points.shape[1])
    return points.min(0), points.max(0)


def hypervolume(
    limits: tuple[np.ndarray, np.ndarray], run: Run, counts: Sequence[float]
) -> list[float | None]:
    """Returns the fraction of a box that the front dominates after each number of evaluations.

    Args:
      limits: Minimum and maximum of each objective.
      run: A search.
      counts: Numbers of evaluations, or of training steps if it trains.
    """
    low, high = limits
    progress = formatting.items(run.record, "course")
    found: list[float | None] = []
    for n in np.searchsorted(_lengths(run), counts, side="right"):
        points = (points_of(run, progress[:n]) - low) / np.where(high > low, high - low, 1.0)
        found.append(
            float(moocore.hypervolume(points, ref=np.ones(len(low)))) if len(points) else 0.0
        )
    return found


def search_measures(runs: Sequence[Run]) -> dict[str, Measure]:
    """Returns quantities that change over a search, by name, for runs of one study."""
    names = objectives(runs[0])
    found: dict[str, Measure]
    if len(names) > 1:
        limits = box(runs)
        found = {"hypervolume": functools.partial(hypervolume, limits)}
    else:
        found = {name: functools.partial(best_after, name) for name in shown(runs[0])}
    return {name: functools.partial(_until_its_end, measure) for name, measure in found.items()}


def _until_its_end(measure: Measure, run: Run, counts: Sequence[float]) -> list[float | None]:
    """Evaluates a measure; None beyond the end of a search."""
    end = evaluations(run) if search_unit(run) == _EVALUATIONS else np.inf
    values = zip(measure(run, counts), counts, strict=True)
    return [value if count <= end else None for value, count in values]


def studies(summary: Summary) -> dict[str, list[Group]]:
    """Groups searches by study, space, data set, metrics and unit.

    Searches that differ in one of these are not comparable.
    """
    found: dict[tuple[Any, ...], list[Group]] = {}
    for group in summary.searches:
        run = group.runs[0]
        key = (group.series.study, *run.searched, search_unit(run))
        found.setdefault(key, []).append(group)
    alone = collections.Counter(key[0] for key in found)
    named: dict[str, list[Group]] = {}
    for (study, space, data, names, *_), groups in found.items():
        name = formatting.shorten(study, 60)
        if alone[study] > 1:
            parts = (space, data[0], ", ".join(names))
            name += ": " + ", ".join(formatting.shorten(part, 60) for part in parts if part)
        named[formatting.unused(name, named)] = groups
    return named


def search_tables(summary: Summary) -> list[Table]:
    """Returns one table per study: each strategy after several numbers of evaluations.

    Args:
      summary: The summary of the report.
    """
    return [_table(study, groups) for study, groups in studies(summary).items()]


def search_marks(runs: Sequence[Run]) -> list[int]:
    """Returns the numbers of evaluations used as columns: a few round ones and the last."""
    most = max(map(evaluations, runs))
    return [m for m in _MARKS if most / 40 < m < most] + [most]


def _table(study: str, groups: Sequence[Group]) -> Table:
    runs = [run for group in groups for run in group.runs]
    followed = search_measures(runs)
    name = list(followed)[-1]
    marks = search_marks(runs)
    columns = [Column("strategy", numeric=False), *(Column(f"{m:,}") for m in marks)]
    columns += [Column("seeds"), Column("seconds")]
    rows = []
    for group in groups:
        cells = [Cell(group.label, group.label, group.series)]
        for found in _estimates(followed[name], group, marks):
            cells.append(Cell(_text(name, found), found.mean if found else None))
        wall = stats.estimate(formatting.number(run.record, "wall_s") for run in group.runs)
        cells.append(Cell(str(len(group.runs)), len(group.runs)))
        cells.append(Cell(formatting.significant(wall.mean, 3) if wall else formatting.MISSING))
        rows.append(cells)
    caption = f"{study}: {formatting.shorten(name, 60)} by number of {search_unit(runs[0])}"
    alone = all(len(group.runs) == 1 for group in groups)
    note = "One search each: no interval." if alone else "Mean ± half the 95 % interval over seeds."
    note += f" {_protocol(runs[0], name)}"
    return Table(caption, columns, rows, [note])


def _estimates(
    measure: Measure, group: Group, counts: Sequence[float]
) -> list[stats.Estimate | None]:
    """Returns the mean of a measure over the runs of a group after each length."""
    values = [measure(run, counts) for run in group.runs]
    return [stats.estimate(after) for after in zip(*values, strict=True)]


def _text(name: str, found: stats.Estimate | None) -> str:
    return stats.interval_text(found, 3) if name == "hypervolume" else stats.estimate_text(found)


def _protocol(run: Run, name: str) -> str:
    chosen = ", ".join(
        ("highest " if is_maximised(run, objective) else "") + formatting.shorten(objective, 60)
        for objective in objectives(run)
    )
    if name == "hypervolume":
        text = "the fraction of the box spanned by all fronts that a front dominates"
    else:
        text = f"reported is {formatting.shorten(name, 60)} of the best so far"
    return f"Selected by {chosen}; {text}."


def search_curves(summary: Summary) -> list[FigureSpec]:
    """Returns one figure per study: best so far, or dominated hypervolume, by evaluations.

    Args:
      summary: The summary of the report.
    """
    return [_curve_figure(study, groups) for study, groups in studies(summary).items()]


def _curve_figure(study: str, groups: Sequence[Group]) -> FigureSpec:
    runs = [run for group in groups for run in group.runs]
    counts = _counts(runs)
    followed = search_measures(runs)
    wide: list[Panel] = []
    narrow: list[Panel] = []
    for name, measure in followed.items():
        curves = [_curve_of(group, groups, measure, counts) for group in groups]
        text = "; ".join(f"{c.label} ends at {c.mean[c.last]:.3g}" for c in curves if c.known)
        for panels, width in ((wide, WIDE), (narrow, NARROW)):
            room = max(text_width(curve.label) for curve in curves) + 20
            margins = (58.0, min(room, 0.4 * width), 14.0, 44.0)
            draw = functools.partial(_draw_curves, counts, curves, name, search_unit(runs[0]))
            label = f"{formatting.shorten(name, 60)}: {text}."
            panels.append(Panel(draw, label, width, _HEIGHT, margins))
    lines = "Lines: means over seeds. Bands: 95 % intervals; none where all seeds are equal."
    if all(len(group.runs) == 1 for group in groups):
        lines = "One search each: no interval."
    caption = f"{lines} {_protocol(runs[0], list(followed)[-1])}"
    name = f"search_{formatting.slug(study)}"
    return FigureSpec(name, f"Search: {study}", caption, wide, narrow)


class SearchCurve(NamedTuple):
    """The line of a strategy: mean and half interval at each count; NaN if missing."""

    label: str
    colour: str
    dashes: Any
    mean: np.ndarray
    half: np.ndarray

    @property
    def known(self) -> bool:
        """Whether any value is known."""
        return bool(np.isfinite(self.mean).any())

    @property
    def last(self) -> int:
        """Index of the last known value."""
        return int(np.flatnonzero(np.isfinite(self.mean))[-1])


def _counts(runs: Sequence[Run]) -> np.ndarray:
    """Returns counts for points of a figure, from the first at which all runs have a result."""
    most = float(max(map(evaluations, runs)))
    first = min(max(1.0, *(_first(run) for run in runs)), most)
    if most <= _FEW:
        return np.arange(first, most + 1)
    return np.unique(np.floor(np.geomspace(min(max(10.0, first), most), most, _POINTS)))


def _first(run: Run) -> float:
    progress = formatting.items(run.record, "course")
    return float(np.ceil(_length_at(progress[0], "evaluation"))) if progress else 0.0


def _curve_of(
    group: Group, groups: Sequence[Group], measure: Measure, counts: np.ndarray
) -> SearchCurve:
    found = _estimates(measure, group, counts.tolist())
    mean = np.array([e.mean if e else np.nan for e in found])
    half = np.array([(e.half or 0.0) if e else np.nan for e in found])
    same = [other for other in groups if other.series == group.series]  # same colour
    dashes = style.dashes(group.series, same.index(group))
    return SearchCurve(group.label, style.colour(group.series), dashes, mean, half)


def _draw_curves(
    counts: np.ndarray, curves: Sequence[SearchCurve], name: str, unit: str, ax: Axes
) -> None:
    ax.set(xlabel=unit, ylabel=formatting.shorten(name, 30))
    few = counts[-1] <= _FEW or len(counts) == 1
    if few:
        room = 0.02 * (counts[-1] - counts[0]) or 0.5 * counts[0]
        ax.set(xlim=(counts[0] - room, counts[-1] + room))
        ax.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    else:
        ax.set(xscale="log", xlim=(counts[0], counts[-1]))
        ax.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: formatting.tick(value)))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    step: Literal["post"] | None = "post" if few else None
    drawn = "steps-post" if few else "default"
    for c in curves:
        band: dict[str, Any] = {"color": c.colour, "alpha": 0.16, "lw": 0}
        ax.fill_between(counts, c.mean - c.half, c.mean + c.half, step=step, **band)
        ax.plot(counts, c.mean, color=c.colour, ls=c.dashes, drawstyle=drawn)
        if c.known and np.isfinite(c.mean).sum() == 1:  # a line of one point is invisible
            ax.plot(counts[c.last], c.mean[c.last], "o", ms=5, color=c.colour, clip_on=False)
    space = ax.figure.bbox.width - ax.get_window_extent().x1 - 16
    ends = [(c, c.last) for c in curves if c.known]
    edge_labels(
        ax, [(counts[i], c.mean[i], shorten_to_width(c.label, space), c.colour) for c, i in ends]
    )
