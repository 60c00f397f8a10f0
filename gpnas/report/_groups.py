"""Arms, groups of runs that differ in the seed only, and their quantities."""

import dataclasses
from collections.abc import Mapping

from gpnas.report import formatting, stats
from gpnas.report._metric import ERROR, TaskMetric
from gpnas.report._read import Problem, Run
from gpnas.report._read_front import Front

# Parts of a run's wall time in the record's `seconds`, which also has `goodput`.
SECONDS = (
    "starting", "compiling", "training", "evaluating", "waiting_for_data", "saving", "lost",
)  # fmt: skip
# Paths of quantities in a run's record.
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
    "goodput": ("seconds", "goodput"),
    **{f"{name}_s": ("seconds", name) for name in SECONDS},
}
# Fields of the record that have the metric, by name of the quantity.
METRICS = {
    "test_last": "test_{}_last",
    "test_selected": "test_{}_selected",
    "validation_last": "val_{}_last",
}
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


Key = tuple[str, str, str]  # study, arm and problem of a series


def key_of(run: Run, problem_names: Mapping[Problem, str]) -> Key:
    """Returns study, arm and problem of a run's series."""
    return run.study, run.arm, problem_names.get(run.problem, "")


@dataclasses.dataclass(frozen=True)
class Series:
    """An arm of a study on one problem; it has the same colour and marker in all figures.

    Attributes:
      study: The study.
      arm: The arm.
      problem: Data set, and the metric if the data set has several; empty if the report has one
        problem.
      label: Name in figures and tables: the arm, with the study and the problem if there are
        several.
      colour: Index into the palette: 0 for dense, 1 for development.
      turn: Number of earlier arms with this colour; determines marker and line style.
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
      series: Arm of the runs.
      setting: The fields that differ from other groups of the arm ("density 0.05"); empty if there
        are none.
      runs: In order of seeds.
    """

    series: Series
    setting: str
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        """The arm and, in parentheses, the setting."""
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
    """Content of a report, sorted into groups and arms.

    Attributes:
      groups: Finished runs, in the order of the result table.
      searches: Searches for architectures, in the order of their arms' names.
      series: All arms in the order of the figures, including those with unfinished runs only.
      unfinished: Runs without a record.
      warnings: Messages about unreadable files and limited comparability.
      problem_names: Names of problems, from `name_problems`.
      fronts: Fronts of networks, grouped if they differ in the seed only.
    """

    groups: tuple[Group, ...]
    searches: tuple[Group, ...]
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
    def metric(self) -> TaskMetric:
        """The metric of the finished runs of one problem (see `by_problem`).

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
        """Returns the groups of an arm in descending order of non-zeros."""
        own = [group for group in self.groups if group.series == series]
        return sorted(own, key=lambda group: -(group.mean("nonzeros") or 0))

    def series_of(self, run: Run) -> Series:
        """Returns the arm of a run."""
        return next(
            s for s in self.series if (s.study, s.arm, s.problem) == key_of(run, self.problem_names)
        )

    def by_problem(self) -> list[tuple[str, "Summary"]]:
        """Returns (name, summary) of each problem; a single problem has no name."""
        names = sorted({group.series.problem for group in self.groups})
        if len(names) < 2:
            return [("", self)]
        return [(name, self._on(name)) for name in names]

    def _on(self, problem: str) -> "Summary":
        """Returns the summary restricted to one problem."""
        own = {
            s: dataclasses.replace(s, label=s.label.removesuffix(f" on {problem}"))
            for s in self.series
            if s.problem == problem
        }
        groups = [
            dataclasses.replace(g, series=own[g.series]) for g in self.groups if g.series in own
        ]
        return dataclasses.replace(self, groups=tuple(groups), series=tuple(own.values()))
