"""Runs sorted into groups that differ in nothing but the seed, and groups into arms."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpnas.report import formatting, stats
from gpnas.report._metric import ERROR, Metric
from gpnas.report._problems import name_problems
from gpnas.report._read import Loaded, Problem, Run, identity, own_config
from gpnas.report._read_front import Front, by_identity

# Where each quantity of a finished run is found in its record.
FIELDS: dict[str, tuple[str, ...]] = {
    "params": ("cost", "params"),
    "nonzeros": ("cost", "nonzeros"),
    "nonzeros_with_bias": ("cost", "nonzeros_with_bias"),
    "density": ("cost", "density"),
    "mean_density": ("cost", "mean_training_density"),
    "macs": ("cost", "inference_macs"),
    "macs_dense": ("cost", "inference_macs_dense"),
    "flops": ("cost", "train_flops"),
    "flops_dense": ("cost", "train_flops_dense"),
    "wall": ("wall_s",),
}
# The same of its metric, by name.
METRICS = {"test_last": "test_{}_last", "test_selected": "test_{}_selected"}
MAX_NAME = 80  # characters of an arm or a study that are shown
RATIOS = {"flops_ratio": ("flops", "flops_dense"), "macs_ratio": ("macs", "macs_dense")}


def quantity(run: Run, name: str) -> float | None:
    """Returns a quantity of a finished run by its short name, or None."""
    if name in RATIOS:
        top, bottom = (quantity(run, part) for part in RATIOS[name])
        return None if top is None or not bottom else formatting.as_number(top / bottom)
    if name == "dead_units":
        layers = formatting.items(run.record, "layers")
        dead = [d for layer in layers if (d := formatting.number(layer, "dead_out")) is not None]
        return sum(dead) if dead else None
    if name in METRICS:
        return formatting.number(run.record, "metrics", METRICS[name].format(run.metric.name))
    return formatting.number(run.record, *FIELDS[name])


@dataclasses.dataclass(frozen=True)
class Series:
    """An arm of a study on one problem, which has one colour and marker in every figure.

    Attributes:
      study: The study.
      arm: The arm.
      problem: Its data set, and its metric where the data set has several; empty where a report
        has one problem.
      label: How figures and tables name it: the arm, with the study where there are several, and
        with the problem where the arm was trained on several.
      colour: Index into the palette: 0 for dense, 1 for development.
      turn: How often the palette has been used up before it; chooses marker and line style.
    """

    study: str
    arm: str
    problem: str
    label: str
    colour: int
    turn: int

    @property
    def is_dense(self) -> bool:
        """Whether this is the dense baseline."""
        return is_dense(self.arm)


def is_dense(arm: str) -> bool:
    """Returns whether an arm's name says that it is the dense baseline."""
    return arm.strip().lower() in ("dense", "baseline", "dense baseline")


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Finished runs that differ in the seed only.

    Attributes:
      series: Their arm.
      setting: What sets this group apart within its arm ("density 0.05"); empty if it is alone.
      runs: In order of seeds.
    """

    series: Series
    setting: str
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        """The arm and, in brackets, the setting."""
        return f"{self.series.label} ({self.setting})" if self.setting else self.series.label

    def estimate(self, name: str) -> stats.Estimate | None:
        """Returns mean and interval of a quantity over the seeds."""
        return stats.estimate(quantity(run, name) for run in self.runs)

    def mean(self, name: str) -> float | None:
        """Returns the mean of a quantity over the seeds."""
        result = self.estimate(name)
        return None if result is None else result.mean

    def by_seed(self, name: str) -> dict[int, float | None]:
        """Returns a quantity by seed."""
        return {run.seed: quantity(run, name) for run in self.runs if run.seed is not None}


@dataclasses.dataclass(frozen=True, eq=False)
class Summary:
    """Everything a report shows, sorted.

    Attributes:
      groups: Finished runs, in the order of the result table.
      searches: Searches for architectures, in the order of their arms' names.
      parts: Parts of studies of another kind, such as weight sharing.
      series: All arms, also those with unfinished runs only, in the order of the figures.
      unfinished: Runs without a record.
      warnings: What could not be read, or makes numbers hard to compare.
      problem_names: What problems are called, as `name_problems` returns it.
      fronts: Fronts of networks that differ in the seed only lie together.
    """

    groups: tuple[Group, ...]
    searches: tuple[Group, ...]
    parts: tuple[Group, ...]
    series: tuple[Series, ...]
    unfinished: tuple[Run, ...]
    warnings: tuple[str, ...]
    problem_names: Mapping[Problem, str]
    fronts: tuple[tuple[Front, ...], ...] = ()

    @property
    def finished(self) -> list[Run]:
        """The finished runs."""
        return [run for group in self.groups for run in group.runs]

    @property
    def metric(self) -> Metric:
        """The metric of the finished runs, of which there is one in each part of `by_problem`.

        Raises:
          ValueError: If there are several.
        """
        found = {run.metric for run in self.finished} or {ERROR}
        if len(found) > 1:
            names = ", ".join(sorted(metric.label for metric in found))
            raise ValueError(f"runs with one metric, not {names}: see `by_problem`")
        return found.pop()

    @property
    def is_sweep(self) -> bool:
        """Whether some arm ran with several settings."""
        return len({group.series for group in self.groups}) < len(self.groups)

    def of(self, series: Series) -> list[Group]:
        """Returns the groups of an arm, from most to fewest non-zeros."""
        own = [group for group in self.groups if group.series == series]
        return sorted(own, key=lambda group: -(group.mean("nonzeros") or 0))

    def series_of(self, run: Run) -> Series:
        """Returns the arm of a run."""
        return next(
            s for s in self.series if (s.study, s.arm, s.problem) == _key(run, self.problem_names)
        )

    def by_problem(self) -> list[tuple[str, "Summary"]]:
        """Returns name and finished runs of each problem; itself without a name if it is one."""
        names = sorted({group.series.problem for group in self.groups})
        if len(names) < 2:
            return [("", self)]
        return [(name, self._on(name)) for name in names]

    def _on(self, problem: str) -> "Summary":
        """Returns the finished runs on one problem, whose arms need not name it."""
        own = {
            s: dataclasses.replace(s, label=s.label.removesuffix(f" on {problem}"))
            for s in self.series
            if s.problem == problem
        }
        groups = [
            dataclasses.replace(g, series=own[g.series]) for g in self.groups if g.series in own
        ]
        return dataclasses.replace(self, groups=tuple(groups), series=tuple(own.values()))


def summarise(loaded: Loaded) -> Summary:
    """Sorts runs into groups and arms.

    The dense arm comes first, the others by their test metric at the last step, the best first;
    groups of one arm lie together, from most to fewest non-zeros.

    Args:
      loaded: What `read_runs` returned.

    Returns:
      The summary that tables and figures are made from.
    """
    # Networks trained alone are in the records of the supernets that they are compared with.
    runs = [run for run in loaded.runs if run.part != "alone"]
    finished = [run for run in runs if run.finished]
    problem_names = name_problems(run for run in runs if not run.is_search and not run.part)
    buckets: dict[tuple[_Key, str], list[Run]] = {}
    for run in finished:
        buckets.setdefault((_key(run, problem_names), identity(run)[-1]), []).append(run)
    named = _name_series(_key(run, problem_names) for run in runs)
    series = {(s.study, s.arm, s.problem): s for s in named}
    settings = _settings(buckets)
    groups = [
        Group(series[key[0]], settings[key], tuple(sorted(runs, key=_by_seed)))
        for key, runs in buckets.items()
    ]
    best: dict[Series, float] = {}
    for group in groups:
        last = group.mean("test_last")
        if last is not None:
            rank = group.runs[0].metric.rank(last)
            best[group.series] = min(rank, best.get(group.series, rank))

    def order(s: Series) -> tuple[object, ...]:
        return (s.study, s.problem, not s.is_dense, best.get(s, float("inf")), s.label)

    groups.sort(key=lambda g: (order(g.series), -(g.mean("nonzeros") or 0), g.setting))
    return Summary(
        groups=tuple(g for g in groups if not g.runs[0].is_search and not g.runs[0].part),
        searches=tuple(g for g in groups if g.runs[0].is_search),
        parts=tuple(g for g in groups if g.runs[0].part),
        series=tuple(sorted(series.values(), key=order)),
        unfinished=tuple(run for run in runs if not run.finished),
        warnings=(*_several(problem_names), *_comparability(finished), *loaded.warnings),
        problem_names=problem_names,
        fronts=by_identity(loaded.fronts),
    )


_Key = tuple[str, str, str]  # study, arm and problem of a series


def _key(run: Run, problem_names: Mapping[Problem, str]) -> _Key:
    return run.study, run.arm, problem_names.get(run.problem, "")


def _by_seed(run: Run) -> tuple[bool, int, str]:
    return (run.seed is None, run.seed or 0, run.name)


def _name_series(keys: Iterable[_Key]) -> list[Series]:
    """Gives every arm its label and colour, which depend on names alone."""
    arms = sorted(set(keys))
    several = len({study for study, _, _ in arms}) > 1
    problems = collections.Counter((study, arm) for study, arm, _ in arms)
    used: dict[int, int] = {}
    result = []
    others = sorted({arm for _, arm, _ in arms if not is_dense(arm) and not _is_development(arm)})
    for study, arm, problem in arms:
        if is_dense(arm):
            colour = 0
        elif _is_development(arm):
            colour = 1
        else:
            colour = 2 + others.index(arm) % 6
        turn = used.get(colour, 0)
        used[colour] = turn + 1
        label = formatting.shorten(arm, MAX_NAME)
        label = f"{formatting.shorten(study, MAX_NAME)}: {label}" if several else label
        label += f" on {problem}" if problem and problems[study, arm] > 1 else ""
        result.append(Series(study, arm, problem, label, colour, turn))
    return result


def _is_development(arm: str) -> bool:
    return arm.lower().startswith("develop")


def _settings(buckets: dict[tuple[_Key, str], list[Run]]) -> dict[tuple[_Key, str], str]:
    """Names each group by the config fields that differ among the groups of its arm."""
    arms: dict[tuple[_Key, tuple[Any, ...]], list[tuple[_Key, str]]] = {}
    for key, runs in buckets.items():
        arms.setdefault((key[0], runs[0].searched), []).append(key)
    named = {}
    for keys in arms.values():
        flats = {key: own_config(buckets[key][0]) for key in keys}
        differ = differing(list(flats.values()))
        # The number of weights is what most sweeps are about: it leads.
        differ.sort(key=lambda field: (not field.endswith(("density", "sparsity")), field))
        for key in keys:
            parts = [
                formatting.shorten(
                    f"{field.rsplit('.', 1)[-1]} {flats[key].get(field, 'none')}", 60
                )
                for field in differ[:3]
            ]
            named[key] = ", ".join(parts) + ("…" if len(differ) > 3 else "")
    return named


def differing(flats: Sequence[dict[str, str]]) -> list[str]:
    """Returns the keys whose values are not the same in all of the flat configs."""
    keys = sorted({key for flat in flats for key in flat})
    return [key for key in keys if len({flat.get(key) for flat in flats}) > 1]


def config_differences(summary: Summary) -> dict[str, dict[Series, list[str]]]:
    """Returns the config fields that differ across arms, and each arm's values.

    Args:
      summary: The summary of a report.

    Returns:
      Field → arm → its distinct values. Seeds are left out.
    """
    flats = [(group.series, own_config(group.runs[0])) for group in summary.groups]
    table: dict[str, dict[Series, list[str]]] = {}
    for field in differing([flat for _, flat in flats]):
        row: dict[Series, list[str]] = {}
        for series, flat in flats:
            seen = row.setdefault(series, [])
            value = flat.get(field, formatting.MISSING)
            if value not in seen:
                seen.append(value)
        table[field] = row
    return table


def _comparability(runs: Sequence[Run]) -> list[str]:
    """Returns warnings where runs of one report do not share code, data or machine."""
    warnings = []
    for field, plural, consequence in (
        ("git", "git revisions", "differences may come from the code"),
        ("machine", "machines", "wall times are not comparable across them"),
    ):
        seen = {formatting.leaf(run.record.get(field)) for run in runs if run.record is not None}
        seen.discard("none")
        if len(seen) > 1:
            warnings.append(f"The runs come from {len(seen)} {plural}: {consequence}.")
    return warnings


def _several(problem_names: Mapping[Problem, str]) -> list[str]:
    names = sorted({*problem_names.values()} - {""})
    if not names:
        return []
    metrics = {metric for (_, metric), name in problem_names.items() if name}
    shown = ", ".join(names[:6]) + (" and others" if len(names) > 6 else "")
    told = f"are on {len(names)} data sets" if len(metrics) == 1 else "differ in data set or metric"
    return [
        f"The runs {told} ({shown}): results are not comparable across them, so that each has its "
        "own tables and figures of results."
    ]
