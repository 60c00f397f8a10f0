"""Errors of all arms by density, chosen settings, and development against its baselines."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp

from experiments.studies.coupling.arms import EPOCHS, MATCHED, OURS, WINDOW_1, WINDOW_1_HIGHER
from experiments.studies.densities import (
    Record,
    by_seed,
    densities_asked,
    density_asked,
    error,
    mean,
)
from gpnas.report import Cell, Column, Table, stats

GMP = "GMP"  # from the dense network
_LABELS = {OURS: "development", WINDOW_1_HIGHER: "development with a window of 1"}


def choice_table(caption: str, records: Sequence[Record]) -> Table:
    """Tabulates each arm's mean validation error at each weight decay, the lowest marked.

    Args:
      caption: Caption of the table.
      records: Records of `coupling_tuning`, or of a study like it.
    """
    decays = sorted({_decay(record) for record in records})
    columns = [Column("arm", numeric=False), *(Column(f"weight decay {d:g}") for d in decays)]
    chosen = chosen_decays(records)
    rows = []
    for arm, means in _validation_errors(records).items():
        texts = [f"{means[d]:.2f}" if d in means else "–" for d in decays]
        marks = [" ←" if d == chosen[arm] else "" for d in decays]
        rows.append([Cell(arm), *(Cell(a + b) for a, b in zip(texts, marks, strict=True))])
    seeds = len({record["seed"] for record in records})
    note = f"Validation error in % at the last step, mean over densities and {seeds} seeds."
    return Table(caption, columns, rows, [note])


def validation_error(record: Record) -> float:
    """Returns the validation error at the last step, in %."""
    return record["metrics"]["val_error_last"]


def chosen_decays(records: Sequence[Record]) -> dict[str, float]:
    """Returns the weight decay of lowest mean validation error by arm; the smallest of equal
    ones."""
    return {
        arm: min(sorted(means), key=lambda decay: means[decay])
        for arm, means in _validation_errors(records).items()
    }


def ablation_table(records: Sequence[Record], caption: str, reference: str = OURS) -> Table:
    """Tabulates each arm's validation error minus development's, and its training FLOPs.

    Args:
      records: Records of `coupling_ablations`.
      caption: Caption of the table.
      reference: The arm of development that is compared with.
    """
    columns = [
        Column("arm", numeric=False),
        Column("validation error %"),
        Column(f"minus {reference}"),
        Column("training FLOPs"),
        Column("seeds"),
    ]
    ours = by_seed([r for r in records if r["arm"] == reference], validation_error)
    rows = []
    arms = dict.fromkeys(record["arm"] for record in records)
    for arm in sorted(arms, key=lambda arm: arm != reference):  # stable
        own = [record for record in records if record["arm"] == arm]
        errors = stats.estimate(map(validation_error, own))
        gap = stats.paired_difference(by_seed(own, validation_error), ours)
        cells = [arm, stats.estimate_text(errors), "–" if arm == reference else _gap_text(gap)]
        rows.append([*map(Cell, cells), Cell(f"{training_flops(own):.3f}"), Cell(str(len(own)))])
    note = (
        "Validation error at the last step, mean ± half the 95 % interval over seeds; differences"
        " are paired by seed, not corrected. Training FLOPs over those of a dense run."
    )
    return Table(caption, columns, rows, [note])


def error_table(records: Sequence[Record]) -> Table:
    """Tabulates test error by arm and density, and training FLOPs relative to dense training.

    Args:
      records: Records of `coupling`.
    """
    densities = densities_asked(records)
    columns = [Column("arm", numeric=False), *(Column(f"{100 * d:g} %") for d in densities)]
    rows = []
    for arm in dict.fromkeys(record["arm"] for record in records):
        own = [record for record in records if record["arm"] == arm]
        at = ([r for r in own if density_asked(r) in (d, None)] for d in densities)
        rows.append([Cell(arm), *map(error_cell, at)])
    note = (
        "Test error in % at the last step, mean ± half the 95 % interval over seeds; in"
        " parentheses training FLOPs relative to a dense run of 10 epochs."
    )
    return Table("Errors by density", columns, rows, [note])


def gap_table(records: Sequence[Record], ours: str = OURS, *, corrected: bool = True) -> Table:
    """Tabulates development minus each arm of equal training FLOPs, paired by seed.

    The last columns are the primary comparison: the area under the error over log density, divided
    by its range, or the error at the only density; with p of the paired t-test, corrected for the
    number of comparisons by Holm.

    Args:
      records: Records of `coupling`, or of a study with these arms.
      ours: Development, or its variant with a window of 1.
      corrected: Whether the last column has p; otherwise the comparison was not planned.
    """
    densities = densities_asked(records)
    several = len(densities) > 1
    others = [name for name in (*MATCHED, OURS) if name != ours]
    others = [name for name in others if any(record["arm"] == name for record in records)]
    gaps = {
        name: _area_gap(records, ours, name, densities)
        if several
        else difference(records, ours, name, densities[0])
        for name in others
    }
    p_values = holm({name: p_value(gap) for name, gap in gaps.items() if gap})
    columns = [
        Column(f"{_LABELS[ours]} minus", numeric=False),
        *(Column(f"{100 * d:g} %") for d in densities),
        *([Column("mean over log density")] if several else []),
        *([Column("p, Holm")] if corrected else []),
    ]
    rows = []
    for name in others:
        cells = [_gap_text(difference(records, ours, name, density)) for density in densities]
        cells += [_gap_text(gaps[name])] if several else []
        p = f"{p_values[name]:.2g}" if name in p_values else "–"
        rows.append([Cell(text) for text in (name, *cells, *([p] if corrected else []))])
    note = (
        "Points of test error, mean ± half the 95 % interval over paired seeds, not corrected;"
        f" negative: {_LABELS[ours]} has the lower error."
    )
    title = f"{_LABELS[ours]} and arms of equal training FLOPs"
    return Table(title[0].upper() + title[1:], columns, rows, [note])


def savings_table(records: Sequence[Record]) -> Table:
    """Tabulates development minus GMP from the dense network, and their training FLOPs.

    Args:
      records: Records of `coupling`.
    """
    densities = densities_asked([record for record in records if record["arm"] == GMP])
    columns = [Column("arm", numeric=False)]
    for density in densities:
        columns += [Column(f"minus GMP at {100 * density:g} %"), Column("training FLOPs ÷ GMP's")]
    rows = []
    for arm in (OURS, *WINDOW_1):
        cells = [cell for density in densities for cell in _savings(records, arm, density)]
        if any(cell != "–" for cell in cells):
            rows.append([*map(Cell, (arm, *cells))])
    note = (
        "Points of test error, mean ± half the 95 % interval over seeds, paired, not corrected;"
        " negative: lower than that of GMP."
    )
    return Table("Development and GMP from the dense network", columns, rows, [note])


def _savings(records: Sequence[Record], arm: str, density: float) -> tuple[str, str]:
    own, theirs = (of_arm(records, name, density) for name in (arm, GMP))
    if not own:
        return "–", "–"
    gap = difference(records, arm, GMP, density)
    return _gap_text(gap), f"{training_flops(own) / training_flops(theirs):.3f}"


def of_arm(records: Sequence[Record], arm: str, density: float) -> list[Record]:
    """Returns the records of an arm at a density."""
    return [r for r in records if r["arm"] == arm and density_asked(r) == density]


def difference(
    records: Sequence[Record], arm: str, other: str, density: float
) -> stats.Estimate | None:
    """Estimates the test error of an arm minus that of another one at a density, paired by seed."""
    both = (by_seed(of_arm(records, name, density), error) for name in (arm, other))
    return stats.paired_difference(*both)


def p_value(gap: stats.Estimate) -> float:
    """Returns the two-sided p-value of a paired t-test of zero mean; 1 without an interval."""
    return 1.0 if gap.half is None else float(ttest_1samp(gap.values, 0.0).pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Corrects p-values for their number by Holm's step-down method."""
    corrected, most = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        most = max(most, min((len(p_values) - rank) * p, 1.0))
        corrected[name] = most
    return corrected


def area(errors: Mapping[float, float]) -> float:
    """Averages an error over log density by the trapezoidal rule."""
    densities = sorted(errors)
    x = np.log(densities)
    return float(np.trapezoid([errors[d] for d in densities], x) / (x[-1] - x[0]))


def _area_gap(
    records: Sequence[Record], arm: str, other: str, densities: Sequence[float]
) -> stats.Estimate | None:
    return stats.paired_difference(*(_areas(records, name, densities) for name in (arm, other)))


def _areas(records: Sequence[Record], arm: str, densities: Sequence[float]) -> dict[int, Any]:
    """Returns the area of each seed that has all densities."""
    found: dict[int, dict[Any, float]] = {}
    for record in records:
        if record["arm"] == arm:
            found.setdefault(record["seed"], {})[density_asked(record)] = error(record)
    return {seed: area(one) for seed, one in found.items() if len(one) == len(densities)}


def _gap_text(gap: stats.Estimate | None) -> str:
    return stats.interval_text(gap, sign="+")


def error_cell(own: Sequence[Record]) -> Cell:
    """Returns the mean test error, in % with its interval, and the training FLOPs."""
    if not own:
        return Cell("–")
    text = stats.estimate_text(stats.estimate(map(error, own)))
    return Cell(text, detail=f"{training_flops(own):.3f}")


def training_flops(own: Sequence[Record]) -> float:
    """Returns mean training FLOPs relative to a dense run of `EPOCHS` epochs."""
    return mean(own, lambda record: record["cost"]["train_flops"] / _of_dense(record))


def _of_dense(record: Record) -> float:
    """Returns the training FLOPs of a dense run of `EPOCHS` epochs."""
    return record["cost"]["train_flops_dense"] * EPOCHS / record["config"]["train"]["epochs"]


def _decay(record: Record) -> float:
    return record["config"]["optimizer"]["weight_decay"]


def _validation_errors(records: Sequence[Record]) -> dict[str, dict[float, float]]:
    """Returns `{arm: {weight decay: mean validation error}}`."""
    found: dict[str, dict[float, list[Record]]] = {}
    for record in records:
        found.setdefault(record["arm"], {}).setdefault(_decay(record), []).append(record)
    return {
        arm: {d: mean(own, validation_error) for d, own in groups.items()}
        for arm, groups in found.items()
    }
