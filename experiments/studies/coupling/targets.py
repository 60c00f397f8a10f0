"""Targets that were set for docs/coupling.md, and the results."""

import pathlib
from collections.abc import Iterator, Sequence

from experiments.studies.coupling.arms import MATCHED, OURS, WINDOW_1, WINDOW_1_HIGHER
from experiments.studies.coupling.tables import GMP, difference, of_arm, training_flops
from experiments.studies.densities import Record, error
from gpnas.records import read_lines
from gpnas.report import Cell, Column, Table, stats

_LEAD, _SHARE = -0.3, 0.2  # points of error; of GMP's training FLOPs
_MNIST = {0.01: 1.70, 0.005: 1.95}  # test error in % by density
_ACCURACY = 90.9  # % of the wide network
_MET = {True: "met", False: "missed"}

_Row = tuple[str, str, bool]


def targets_table(results: pathlib.Path) -> Table:
    """Tabulates targets, results from all studies of the page, and whether they are met.

    Args:
      results: Folder of all studies' records.
    """
    columns = [Column(name, numeric=False) for name in ("target", "result", "verdict")]
    found = [
        *_against_rivals(_records(results, "coupling"), OURS, OURS),
        *_against_rivals(
            _records(results, "coupling_confirmation"),
            WINDOW_1_HIGHER,
            f"{OURS}, window 1, new seeds,",
        ),
        *_against_gmp(_records(results, "coupling")),
        *_on_mnist(_records(results, "coupling_mnist_long")),
        *_wide(_records(results, "coupling_wide")),
    ]
    rows = [[*map(Cell, (target, result, _MET[met]))] for target, result, met in found]
    note = (
        "Test errors at the last step; mean ± half the 95 % interval over seeds, differences paired"
        " by seed, not corrected. The best arm has the lowest mean error."
    )
    return Table("Targets and results", columns, rows, [note])


def _against_rivals(records: Sequence[Record], ours: str, label: str) -> Iterator[_Row]:
    for density in (0.02, 0.01):
        means = _means(records, MATCHED, density)
        if not means:
            continue
        best = min(means, key=lambda arm: means[arm])
        gap = difference(records, ours, best, density)
        if gap is not None:
            target = f"{100 * density:g} %: {label} minus the best arm of equal training FLOPs"
            met = gap.mean <= _LEAD and _excludes_zero(gap)
            yield f"{target} ≤ {_minus(_LEAD)} points", f"{_points(gap)} ({best})", met


def _against_gmp(records: Sequence[Record]) -> Iterator[_Row]:
    """Yields the cheapest development that is not shown to have a higher error than GMP."""
    for density in (0.02, 0.01):
        costs = {}
        for arm in (OURS, *WINDOW_1):
            gap = difference(records, arm, GMP, density)
            if gap is not None and gap.half is not None and gap.mean <= gap.half:
                cost, base = (training_flops(of_arm(records, a, density)) for a in (arm, GMP))
                costs[arm] = cost / base, gap
        if costs:
            arm = min(costs, key=lambda arm: costs[arm][0])
            share, gap = costs[arm]
            target = f"{100 * density:g} %: at most {_SHARE:g} of the training FLOPs of GMP from"
            result = f"{share:.3f}, at a difference of {_points(gap)} ({arm})"
            yield f"{target} the dense network, for its error", result, share <= _SHARE


def _on_mnist(records: Sequence[Record]) -> Iterator[_Row]:
    for density, most in _MNIST.items():
        means = _means(records, [record["arm"] for record in records], density)
        if means:
            best = min(means, key=lambda arm: means[arm])
            ours, theirs = (
                stats.estimate_text(stats.estimate(map(error, of_arm(records, arm, density))))
                for arm in (OURS, best)
            )
            result = f"{ours} %; the best arm: {theirs} % ({best}); 50 epochs"
            target = f"MNIST, {100 * density:g} %: error ≤ {most:.2f} %"
            yield target, result, means[best] <= most


def _wide(records: Sequence[Record]) -> Iterator[_Row]:
    own = [record for record in records if record["arm"] == OURS]
    if own:
        found = stats.estimate(100 - error(record) for record in own)
        assert found is not None
        target = f"784-1568-1568-1568-10, 1 %: accuracy ≥ {_ACCURACY} %"
        text = (
            f"{found.mean:.2f} %, one seed" if found.n == 1 else stats.estimate_text(found) + " %"
        )
        yield target, f"{text}; 50 epochs", found.mean >= _ACCURACY


def _records(results: pathlib.Path, study: str) -> list[Record]:
    return list(read_lines(results / study / "records.jsonl"))


def _means(records: Sequence[Record], arms: Sequence[str], density: float) -> dict[str, float]:
    found = {arm: stats.estimate(map(error, of_arm(records, arm, density))) for arm in arms}
    return {arm: one.mean for arm, one in found.items() if one is not None}


def _excludes_zero(gap: stats.Estimate) -> bool:
    return gap.half is not None and abs(gap.mean) > gap.half


def _points(gap: stats.Estimate) -> str:
    return _minus(stats.interval_text(gap, sign="+"))


def _minus(number: float | str) -> str:
    return str(number).replace("-", "−")
