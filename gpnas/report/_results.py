"""The tables of a report."""

from gpnas.report import formatting, stats
from gpnas.report._groups import SECONDS, Group, Summary
from gpnas.report._metric import TaskMetric
from gpnas.report._read import Run
from gpnas.report._table import Cell, Column, Table, group_cell, number_cell

MAX_ROWS = 600
SAVES_NOTHING = (
    "Masks alone save nothing at inference: the ratios count multiplications with active weights, "
    "which become time and memory only in a compacted network or with sparse kernels."
)


def result_table(summary: Summary, problem: str = "") -> Table:
    """Returns the main table: one row per group of finished runs, dense first, then by test metric.

    Args:
      summary: The summary of the report, or of one of its problems.
      problem: Name of the problem, if the report has several.

    Returns:
      The table, with notes on how to read it.

    Raises:
      ValueError: If the runs have several metrics.
    """
    metric = summary.metric
    columns = _result_columns(metric)
    rows = [
        [
            group_cell(group),
            _seeds(group),
            number_cell(group.mean("density"), formatting.percent_text),
            number_cell(group.mean("nonzeros"), formatting.count_text),
            _value(metric, group.estimate("test_last")),
            _value(metric, group.estimate("test_selected")),
            number_cell(group.mean("mean_density"), formatting.percent_text),
            number_cell(group.mean("flops_ratio"), formatting.digits),
            number_cell(group.mean("macs_ratio"), formatting.digits),
            number_cell(group.mean("dead_units"), formatting.few),
            number_cell(group.mean("wall"), formatting.digits),
        ]
        for group in summary.groups[:MAX_ROWS]
    ]
    notes = [
        f"Test {metric.title}: mean ± half the 95 % confidence interval (Student's t) on the test "
        "set, which is read once at the end. The selected step is the one with the "
        f"{metric.best} validation {metric.title}.",
        SAVES_NOTHING,
    ]
    few = max((len(group.runs) for group in summary.groups), default=0)
    if any(len(group.runs) < 5 for group in summary.groups):
        notes.append(
            ("No arm has" if few < 5 else "Some arms do not have")
            + " five seeds; rows with fewer are preliminary."
        )
    if len(summary.groups) > MAX_ROWS:
        notes.append(f"{len(summary.groups) - MAX_ROWS} more rows are not shown.")
    runs = f"Finished runs on {problem}" if problem else "Finished runs"
    return Table(f"{runs}, mean over seeds ± 95 % interval", columns, rows, notes)


def _result_columns(metric: TaskMetric) -> list[Column]:
    return [
        Column("arm", numeric=False),
        Column("seeds", help="Finished runs with this config"),
        Column("density", help="Active fraction of the prunable weights at the end"),
        Column("non-zeros", help="Active prunable weights at the end, without biases"),
        Column(
            f"{metric.label} at last step",
            help=f"Test {metric.title} at the last step, mean ± 95 % interval",
        ),
        Column(
            f"{metric.label} at selected step",
            help=f"Test {metric.title} at the step with the {metric.best} validation "
            f"{metric.title}, mean ± 95 % interval",
        ),
        Column("mean training density", help="Density averaged over training"),
        Column("training FLOPs ÷ dense", help="Integrated over training"),
        Column("inference MACs ÷ dense", help="With active weights only"),
        Column("units without inputs", help="No active incoming weight; all layers"),
        Column("wall s", help="Training and evaluation of a run, mean over seeds"),
    ]


def difference_table(summary: Summary) -> Table | None:
    """Returns each arm's paired difference from dense over seeds.

    Args:
      summary: Runs on one problem.

    Returns:
      The table; None without common seeds.
    """
    metric = summary.metric
    rows = []
    for group in summary.groups:
        base = _baseline(summary, group)
        if base is None:
            continue
        pairs = [
            stats.paired_difference(group.by_seed(name), base.by_seed(name))
            for name in ("test_last", "test_selected")
        ]
        last = pairs[0]
        if last is None or last.n == 1:
            continue
        if last.half is None:
            verdict = "nothing: " + stats.EQUAL
        elif abs(last.mean) <= last.half:
            verdict = "no difference shown"
        else:
            verdict = f"{'higher' if last.mean > 0 else 'lower'} {metric.title}"
        of = base.mean("test_last") or 0.0
        rows.append(
            [
                group_cell(group),
                Cell(str(last.n), last.n),
                _signed(metric, last, of),
                _signed(metric, pairs[1], of),
                Cell(verdict, verdict),
            ]
        )
    if not rows:
        return None
    percent = metric.unit == "%"
    columns = [
        Column("arm", numeric=False),
        Column("shared seeds"),
        *(Column(f"{step} step{', points' if percent else ''}") for step in ("last", "selected")),
        Column("interval at the last step says", numeric=False),
    ]
    note = (
        f"Arm minus dense in {'points of ' if percent else ''}test {metric.title}, mean over "
        "shared seeds ± half the 95 % interval of the paired differences. The intervals are not "
        "corrected for the number of arms."
    )
    return Table("Difference from dense, seed by seed", columns, rows[:MAX_ROWS], [note])


def time_table(summary: Summary) -> Table | None:
    """Returns the wall time of runs by part; None if no record has it."""
    rows = [
        [
            group_cell(group),
            *(number_cell(group.mean(f"{name}_s"), formatting.significant) for name in SECONDS),
            number_cell(group.mean("goodput"), formatting.percent_text),
        ]
        for group in summary.groups[:MAX_ROWS]
        if group.mean("goodput") is not None
    ]
    if not rows:
        return None
    columns = [
        Column("arm", numeric=False),
        *(Column(f"{name.replace('_', ' ')} s") for name in SECONDS),
        Column("goodput", help="Share of training in the sum of the columns before"),
    ]
    note = (
        "Mean over seeds. Seeds that train as one program have the same seconds. Lost: logged"
        " work undone by an interruption, and the restart."
    )
    return Table("Where the time went", columns, rows, [note])


def unfinished_table(summary: Summary) -> Table | None:
    """Returns the runs that did not finish, with their progress."""
    rows: list[list[Cell]] = []
    metrics = {run.metric for run in summary.unfinished}
    shared = metrics.pop() if len(metrics) == 1 else None
    for run in summary.unfinished[:MAX_ROWS]:
        step, total = run.last_step, run.total_steps
        if not step:
            state = "unfinished, no step logged"
        elif total:
            state = f"unfinished at step {step:,} of {total:,}"
        else:
            state = f"unfinished at step {step:,}"
        share = step / total if total else None
        train = (run.train or ({},))[-1]
        rows.append(
            [
                Cell(summary.series_of(run).label, run.arm, summary.series_of(run)),
                number_cell(None if run.seed is None else float(run.seed), formatting.count_text),
                Cell(state, share or 0.0, share=share),
                number_cell(formatting.number(train, "density"), formatting.percent_text),
                _validation(run, shared),
                number_cell(formatting.number(train, "wall_s"), formatting.significant),
            ]
        )
    if not rows:
        return None
    columns = [
        Column("arm", numeric=False),
        Column("seed"),
        Column("progress", numeric=False),
        Column("density there"),
        Column(f"validation {shared.title} there {shared.unit}" if shared else "validation there"),
        Column("wall s so far"),
    ]
    note = "These runs were killed or are still running. The numbers above do not include them."
    return Table("Where they stopped", columns, rows, [note], sortable=False)


def _baseline(summary: Summary, group: Group) -> Group | None:
    """Returns the study's dense group, if there is exactly one."""
    if group.series.is_dense:
        return None
    dense = [
        g for g in summary.groups if g.series.is_dense and g.series.study == group.series.study
    ]
    return dense[0] if len(dense) == 1 else None


def _validation(run: Run, shared: TaskMetric | None) -> Cell:
    """Returns the last validation metric of a run, with its name unless the column has it."""
    value = formatting.number((run.validation or ({},))[-1], run.metric.name)
    if shared is not None or value is None:
        return number_cell(value, formatting.significant)
    return Cell(f"{run.metric.title} {run.metric.text(value)}")


def _seeds(group: Group) -> Cell:
    """Returns the number of runs, and of those with a result if some have none."""
    last = group.estimate("test_last")
    n, known = len(group.runs), last.n if last else 0
    return Cell(str(n), n, detail="" if known == n else f"{known} with a result")


def _value(metric: TaskMetric, found: stats.Estimate | None) -> Cell:
    if found is None:
        return Cell(formatting.MISSING)
    detail = "" if found.half is not None else stats.EQUAL if found.n > 1 else "1 seed"
    text = metric.interval(found).removesuffix(f" ({stats.EQUAL})")
    return Cell(text, found.mean, detail=detail)


def _signed(metric: TaskMetric, found: stats.Estimate | None, of: float) -> Cell:
    if found is None or found.n == 1:
        return Cell(formatting.MISSING)
    return Cell(metric.interval(found, of).replace("-", "−"), found.mean)
