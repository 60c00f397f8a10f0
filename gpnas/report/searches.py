"""Searches for architectures: how good the best was after so many evaluations, and at the end."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import moocore
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gpnas.report import stats, style, values
from gpnas.report.errors import error_text
from gpnas.report.figures import FigureSpec, Panel, columns_for
from gpnas.report.groups import Group, Series, Summary
from gpnas.report.labels import edge_labels, text_width
from gpnas.report.read import Run
from gpnas.report.table import Cell, Column, Table

Measure = Callable[[Run, float], float | None]  # of a search, after so many evaluations
_WIDE, _NARROW, _HEIGHT = 760.0, 380.0, 250.0
_POINTS = 120  # of a curve
_MARKS = tuple(m * 10**n for n in range(1, 6) for m in (1, 2, 5))  # that a table shows


def objectives(run: Run) -> list[str]:
    """Names of what a search minimised."""
    return list(run.config.get("objectives", ()))


def shown(run: Run) -> list[str]:
    """Objectives, then what was told of what was found."""
    return [*objectives(run), *run.config.get("reports", ())]


def evaluations(run: Run) -> int:
    """How many different ones were evaluated; or what was spent, in the search's own unit."""
    return int(_spent(run.record or {}, "evaluations"))


def _spent(entry: Mapping[str, Any], evaluations: str) -> float:
    """Training steps up to here, where a search trains; else evaluations."""
    steps = values.number(entry, "steps")
    return (values.number(entry, evaluations) or 0.0) if steps is None else steps


def unit(run: Run) -> str:
    """What the course of a search is counted in."""
    own = "training steps" if values.number(run.record, "steps") is not None else "evaluations"
    return str(values.dig(run.record, "unit") or own)


def best_after(metric: str, run: Run, count: float) -> float | None:
    """A metric of the best of the first `count` evaluations; of a search with one objective."""
    course = values.items(run.record, "course")
    entries = [e for e in course if _spent(e, "evaluation") <= count]
    return values.number(entries[-1], "metrics", metric) if entries else None


def front_after(run: Run, count: float) -> np.ndarray:
    """(points, objectives): what entered the front within the first `count` evaluations."""
    names = objectives(run)
    rows = [
        [values.number(entry, "metrics", name) for name in names]
        for entry in values.items(run.record, "course")
        if _spent(entry, "evaluation") <= count
    ]
    return np.array([row for row in rows if None not in row], np.float64).reshape(-1, len(names))


def box(runs: Sequence[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value of each objective that entered a front of any of the runs."""
    points = np.concatenate([front_after(run, np.inf) for run in runs])
    return points.min(0), points.max(0)


def hypervolume(run: Run, count: float, limits: tuple[np.ndarray, np.ndarray]) -> float:
    """Share of the box that the front after `count` evaluations dominates."""
    low, high = limits
    points = (front_after(run, count) - low) / np.where(high > low, high - low, 1.0)
    return float(moocore.hypervolume(points, ref=np.ones(len(low)))) if len(points) else 0.0


def measures(runs: Sequence[Run]) -> dict[str, Measure]:
    """What can be followed over a search, by name: runs of one study."""
    names = objectives(runs[0])
    if len(names) > 1:
        limits = box(runs)
        return {"hypervolume": lambda run, count: hypervolume(run, count, limits)}
    return {name: functools.partial(best_after, name) for name in shown(runs[0])}


def studies(summary: Summary) -> dict[str, list[Group]]:
    """Groups of searches by study."""
    found: dict[str, list[Group]] = {}
    for group in summary.searches:
        found.setdefault(group.series.study, []).append(group)
    return found


def search_tables(summary: Summary) -> list[Table]:
    """One table a study: each strategy after so many evaluations."""
    return [_table(study, groups) for study, groups in studies(summary).items()]


def marks_of(runs: Sequence[Run]) -> list[int]:
    """After how much a table shows what was found: a few round numbers, and the end."""
    most = max(map(evaluations, runs))
    return [m for m in _MARKS if most / 40 < m < most] + [most]


def _table(study: str, groups: Sequence[Group]) -> Table:
    runs = [run for group in groups for run in group.runs]
    followed = measures(runs)
    name = list(followed)[-1]
    marks = marks_of(runs)
    columns = [Column("strategy", numeric=False), *(Column(f"{m:,}") for m in marks)]
    columns += [Column("seeds"), Column("seconds")]
    rows = []
    for group in groups:
        cells = [Cell(group.label, group.label, group.series)]
        for mark in marks:
            found = stats.estimate(followed[name](run, mark) for run in group.runs)
            cells.append(Cell(_text(name, found), found.mean if found else None))
        wall = stats.estimate(values.number(run.record, "wall_s") for run in group.runs)
        cells.append(Cell(str(len(group.runs)), len(group.runs)))
        cells.append(Cell(values.significant(wall.mean, 3) if wall else values.MISSING))
        rows.append(cells)
    caption = f"{study}: {name} after so many {unit(runs[0])}"
    note = f"Mean ± half the 95 % interval over seeds. {_protocol(runs[0], name)}"
    return Table(caption, columns, rows, [note])


def difference_table(groups: Sequence[Group], against: str) -> Table:
    """Each strategy minus another by the same seeds, after so many evaluations.

    Args:
      groups: Of one study.
      against: The other's arm.
    """
    runs = [run for group in groups for run in group.runs]
    name, measure = list(measures(runs).items())[-1]
    marks = marks_of(runs)
    at = {
        group.label: [{run.seed or 0: measure(run, mark) for run in group.runs} for mark in marks]
        for group in groups
    }
    rows = []
    for label in (label for label in at if label != against):
        pairs = zip(at[label], at[against], strict=True)
        found = [stats.paired_difference(ours, theirs) for ours, theirs in pairs]
        rows.append([Cell(label), *(Cell(_signed(name, one)) for one in found)])
    caption = f"{name} minus that of {against}, after so many {unit(runs[0])}"
    better = "above" if name == "hypervolume" else "below"
    note = f"Mean ± half the 95 % interval of the differences by seed; {better} zero is better."
    columns = [Column("strategy", numeric=False), *(Column(f"{m:,}") for m in marks)]
    return Table(caption, columns, rows, [note])


def _signed(name: str, found: stats.Estimate | None) -> str:
    if found is None:
        return values.MISSING
    digits = 3 if name == "hypervolume" else 2
    half = "" if found.half is None else f" ± {found.half:.{digits}f}"
    return f"{found.mean:+.{digits}f}{half}"


def _text(name: str, found: stats.Estimate | None) -> str:
    if name != "hypervolume" or found is None:
        return error_text(found)
    return f"{found.mean:.3f}" + ("" if found.half is None else f" ± {found.half:.3f}")


def _protocol(run: Run, name: str) -> str:
    chosen = ", ".join(objectives(run))
    if name == "hypervolume":
        told = "the share of the box that all fronts span which a front dominates"
    else:
        told = f"told is {name} of what was chosen so far"
    return f"Chosen by {chosen}; {told}."


def course_figures(summary: Summary) -> list[FigureSpec]:
    """One figure a study: best so far, or the share that is dominated, over evaluations."""
    return [_course(study, groups) for study, groups in studies(summary).items()]


def _course(study: str, groups: Sequence[Group]) -> FigureSpec:
    runs = [run for group in groups for run in group.runs]
    most = max(map(evaluations, runs))
    followed = measures(runs)
    begin = max(min(10, most), *(_first(run) for run in runs))  # all have found something then
    counts = np.unique(np.geomspace(min(begin, most), most, _POINTS).astype(int))
    wide: list[Panel] = []
    narrow: list[Panel] = []
    for name, measure in followed.items():
        curves = {group.series: _curve(group, measure, counts) for group in groups}
        told = "; ".join(f"{s.label} ends at {curve[0][-1]:.3g}" for s, curve in curves.items())
        room = (58.0, max(text_width(series.label) for series in curves) + 20, 14.0, 44.0)
        draw = functools.partial(_draw_course, counts, curves, name, unit(runs[0]))
        for panels, width in ((wide, _WIDE), (narrow, _NARROW)):
            panels.append(Panel(draw, f"{name}: {told}.", width, _HEIGHT, room))
    protocol = _protocol(runs[0], list(followed)[-1])
    caption = f"Mean over seeds and its 95 % interval. {protocol}"
    return FigureSpec(f"search_{study}", f"Search: {study}", caption, wide, narrow)


def _first(run: Run) -> float:
    course = values.items(run.record, "course")
    return np.ceil(_spent(course[0], "evaluation")) if course else 0.0


def _curve(group: Group, measure: Measure, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and half interval at each count."""
    found = [stats.estimate(measure(run, count) for run in group.runs) for count in counts]
    mean = np.array([e.mean if e else np.nan for e in found])
    return mean, np.array([(e.half or 0.0) if e else np.nan for e in found])


def _draw_course(
    counts: np.ndarray,
    curves: Mapping[Series, tuple[np.ndarray, np.ndarray]],
    name: str,
    unit: str,
    ax: Axes,
) -> None:
    ax.set(xscale="log", xlim=(counts[0], counts[-1]), xlabel=unit, ylabel=name)
    ax.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: values.tick(value)))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    for series, (mean, half) in curves.items():
        colour = style.colour(series)
        ax.fill_between(counts, mean - half, mean + half, color=colour, alpha=0.16, lw=0)
        ax.plot(counts, mean, color=colour, ls=style.dashes(series))
    edge_labels(ax, [(counts[-1], m[-1], s.label, style.colour(s)) for s, (m, _) in curves.items()])


def front_figures(summary: Summary) -> list[FigureSpec]:
    """One figure a study with two objectives or more: the fronts of all seeds, a panel an arm."""
    return [
        _fronts(study, groups)
        for study, groups in studies(summary).items()
        if len(objectives(groups[0].runs[0])) > 1
    ]


def _fronts(study: str, groups: Sequence[Group]) -> FigureSpec:
    limits = box([run for group in groups for run in group.runs])
    panels = [
        Panel(
            functools.partial(_draw_front, groups, group, limits),
            f"{group.label}: fronts of {values.plural(len(group.runs), 'seed')}",
            264.0, 230.0, (56, 12, 26, 42),
        )
        for group in groups
    ]  # fmt: skip
    caption = (
        "Fronts at the end, a line a seed: first objective to the right, second upwards, both lower"
        " the better; the other strategies' in grey."
    )
    return FigureSpec(
        f"fronts_{study}", f"Fronts: {study}", caption, panels, columns=columns_for(len(panels))
    )


def _draw_front(
    groups: Sequence[Group], own: Group, limits: tuple[np.ndarray, np.ndarray], ax: Axes
) -> None:
    first, second = objectives(own.runs[0])[:2]
    for group in sorted(groups, key=lambda group: group is own):
        colour = style.colour(own.series) if group is own else style.GRID
        for run in group.runs:
            points = _end_front(run)
            ax.step(points[:, 0], points[:, 1], where="post", color=colour, lw=1.4)
            if group is own:
                ax.plot(points[:, 0], points[:, 1], "o", ms=3, color=colour)
    low, high = limits
    room = 0.05 * (high - low)
    ax.set(xlim=(low[0] - room[0], high[0] + room[0]), ylim=(low[1] - room[1], high[1] + room[1]))
    ax.set(xlabel=first, ylabel=second)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: values.tick(value)))
    ax.set_title(own.label, loc="left", color=style.colour(own.series), weight="bold", fontsize=11)


def _end_front(run: Run) -> np.ndarray:
    """(points, objectives) of the front at the end, by the first objective."""
    names = objectives(run)
    rows = [
        [entry["metrics"][name] for name in names] for entry in values.items(run.record, "front")
    ]
    return np.array(sorted(rows), np.float64)
