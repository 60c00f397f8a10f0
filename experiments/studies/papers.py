"""Tables of docs/reproducing.md: papers' numbers and ours, from records."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.studies.verdicts import target_verdict
from gpnas.report import Cell, Column, Table, stats

Record = Mapping[str, Any]
NPN_EPOCHS = 500  # of NPN's paper, for LeNet-5; its dense networks are trained as long


class Bar(NamedTuple):
    """A paper's result, and targets for an arm of ours.

    Attributes:
      arm: The arm.
      paper: The paper's result in short ("68× at 1.92 %"); empty if it has none.
      epochs: The paper's budget in epochs; 0 if not known.
      error: Maximum test error in %; None: no target.
      compression: Minimum ratio of all to active weights; 0: no target.
      macs: Maximum MACs of the network without inactive units; None: no target.
      units: Maximum units in use by layer, as the paper counts them; may be empty.
      after_miss: Whether the arm's settings were chosen after test errors of other settings missed
        the target.
    """

    arm: str
    paper: str = ""
    epochs: int = 0
    error: float | None = None
    compression: float = 0.0
    macs: int | None = None
    units: tuple[int, ...] = ()
    after_miss: bool = False

    @property
    def target(self) -> str:
        """The targets, in short."""
        asked = [
            f"≥ {self.compression:g}×" if self.compression else "",
            f"≤ {'-'.join(map(str, self.units))}" if self.units else "",
            f"≤ {self.macs:,} MACs" if self.macs else "",
            f"≤ {self.error:g} %" if self.error is not None else "",
        ]
        return ", ".join(text for text in asked if text)


def paper_epochs(bars: Sequence[Bar]) -> dict[str, int]:
    """Returns the papers' epochs by arm, if known."""
    return {bar.arm: bar.epochs for bar in bars if bar.epochs}


def units_in_use(record: Record) -> tuple[int, ...]:
    """Counts filters of convolutions with an active weight, and inputs of dense layers in use.

    In a chain of dense layers, an input is in use if it has incoming and outgoing weights; the
    smaller of the two counts is used.
    """
    found = []
    fed: int | None = None  # units that the preceding dense layer reaches
    for layer in record["layers"]:
        fan_in, out = layer["shape"][-2:]
        if len(layer["shape"]) > 2:
            found.append(out - layer["dead_out"])
            fed = None
        else:
            used = fan_in - layer["dead_in"]
            found.append(used if fed is None else min(used, fed))
            fed = out - layer["dead_out"]
    return tuple(found)


def compact_macs(record: Record) -> int | None:
    """Returns the MACs per image of a chain of dense layers without unused units, else None."""
    layers = record["layers"]
    if any(len(layer["shape"]) != 2 for layer in layers):
        return None
    widths = [*units_in_use(record), layers[-1]["shape"][1]]
    return sum(a * b for a, b in zip(widths, widths[1:], strict=False))


def paper_table(caption: str, bars: Sequence[Bar], records: Sequence[Record]) -> Table:
    """Returns one row per arm: the paper's result, ours, and whether the targets are reached.

    Args:
      caption: Caption of the table.
      bars: Rows in this order; arms without records are shown as not run.
      records: Records of a study, in any order.
    """
    columns = [
        Column("arm", numeric=False),
        Column("paper", numeric=False),
        Column("target", numeric=False),
        Column("test error % at last step"),
        Column("at selected step"),
        Column("compression"),
        Column("remaining % by layer", numeric=False),
        Column("units in use", numeric=False),
        Column("seeds"),
        Column("epochs (paper)"),
        Column("reached", numeric=False),
    ]
    by_arm: dict[str, list[Record]] = {}
    for record in records:
        by_arm.setdefault(record["arm"], []).append(record)
    rows = [[Cell(text) for text in _row(bar, by_arm.get(bar.arm, []))] for bar in bars]
    notes = [
        "Errors: mean ± half the 95 % interval over seeds, on the test images, which are read once"
        " at the end. Compression: all weights ÷ active weights, without biases. Units in use:"
        " inputs of dense layers and filters of convolutions with an active weight, median over"
        " seeds. Reached: yes or no if the 95 % interval over seeds is on one side of the target,"
        " otherwise not shown; units: medians are compared."
    ]
    if any(bar.after_miss for bar in bars):
        notes.append(
            "Chosen after a miss: the settings were chosen, on validation, after test errors of"
            " other settings missed the target. Such a row is biased in favour of the method."
        )
    return Table(caption, columns, rows, notes)


def differences_table(pairs: Sequence[tuple[str, str]], records: Sequence[Record]) -> Table:
    """Tabulates paired differences between arms; pairs without common seeds are omitted.

    Args:
      pairs: An arm, and the one that it is compared with.
      records: Records of both, one per arm and seed.
    """
    by_arm: dict[str, dict[int, Record]] = {}
    for record in records:
        by_arm.setdefault(record["arm"], {})[record["seed"]] = record
    rows = []
    for arm, other in pairs:
        ours, theirs = by_arm.get(arm, {}), by_arm.get(other, {})
        error, factor = (
            stats.paired_difference(
                {seed: value(record) for seed, record in ours.items()},
                {seed: value(record) for seed, record in theirs.items()},
            )
            for value in (_last_error, compression)
        )
        if error is not None and factor is not None:
            texts = (
                f"{arm} minus {other}", str(error.n), stats.interval_text(error, sign="+"),
                stats.interval_text(factor, sign="+"),
            )  # fmt: skip
            rows.append([*map(Cell, texts)])
    columns = [
        Column("arms", numeric=False), Column("seeds"), Column("test error, points"),
        Column("compression"),
    ]  # fmt: skip
    note = "Mean ± half the 95 % interval over common seeds, at the last step."
    return Table("Differences, seed by seed", columns, rows, [note])


def _last_error(record: Record) -> float:
    return float(record["metrics"]["test_error_last"])


def _row(bar: Bar, records: list[Record]) -> list[str]:
    if not records:
        budget = f"– ({bar.epochs or '–'})"
        return [bar.arm, bar.paper, bar.target, *("–",) * 5, "0", budget, "not run"]
    errors = [_last_error(record) for record in records]
    selected = [record["metrics"]["test_error_selected"] for record in records]
    factors = [compression(record) for record in records]
    epochs = sorted({record["config"]["train"]["epochs"] for record in records})
    return [
        bar.arm,
        bar.paper,
        bar.target,
        _error(stats.estimate(errors)),
        _error(stats.estimate(selected)),
        _range(factors),
        _remaining(records),
        "-".join(str(n) for n in _median_units(records)),
        str(len(records)),
        f"{'/'.join(map(str, epochs))} ({bar.epochs or '–'})",
        reached(bar, records),
    ]


def compression(record: Record) -> float:
    """Returns all weights over active weights, without biases."""
    return 1 / max(record["cost"]["density"], 1e-12)


def reached(bar: Bar, records: Sequence[Record]) -> str:
    """Returns whether the targets are reached; "" without targets.

    Args:
      bar: The targets.
      records: Records of the arm, one or more.

    Returns:
      "yes" if all targets are reached, "no: " and the targets that are missed or open, or only the
      open ones: "error not shown with 3 seeds (mean above by 0.11, half-width 0.14)". Errors,
      compression and MACs are tested by `target_verdict`; medians of units are compared.
    """
    if not bar.target:
        return ""
    found = {name: text for name, text in _verdicts(bar, records).items() if text != "yes"}
    missed = [name for name, text in found.items() if text == "no"]
    opened = [f"{name} {text}" for name, text in found.items() if text != "no"]
    shown = "no: " + "; ".join([*missed, *opened]) if missed else "; ".join(opened) or "yes"
    return shown + (" (chosen after a miss)" if bar.after_miss else "")


def _verdicts(bar: Bar, records: Sequence[Record]) -> dict[str, str]:
    """Returns "yes", "no" or what is open, by target; a missed target has its distance."""
    found = {}
    if bar.error is not None:
        gap = _gap([_last_error(r) for r in records], bar.error)
        text = target_verdict(gap, -1)
        found[f"error by {gap.mean:.2f} points" if text == "no" else "error"] = text
    if bar.compression:  # rounded as in papers
        gap = _gap([round(compression(r), 1) for r in records], bar.compression)
        text = target_verdict(gap, 1, ".1f")
        shown = f"compression, {gap.mean + bar.compression:.1f}×"
        found[shown if text == "no" else "compression"] = text
    if bar.units:
        more = any(a > b for a, b in zip(_median_units(records), bar.units, strict=True))
        found["units"] = "no" if more else "yes"
    macs = [compact_macs(r) for r in records]
    if bar.macs and None in macs:
        found["MACs"] = "not known"
    elif bar.macs:
        gap = _gap([m or 0 for m in macs], bar.macs)
        text = target_verdict(gap, -1, ",.0f")
        found[f"MACs, {gap.mean + bar.macs:,.0f}" if text == "no" else "MACs"] = text
    return found


def _gap(values: Sequence[float], target: float) -> stats.Estimate:
    gap = stats.estimate(value - target for value in values)
    assert gap is not None
    return gap


def _range(factors: Sequence[float]) -> str:
    low, high = f"{min(factors):.1f}", f"{max(factors):.1f}"
    return f"{low}×" if low == high else f"{low}–{high}×"


def _error(found: stats.Estimate | None) -> str:
    return stats.estimate_text(found) if found else "–"


def _remaining(records: Sequence[Record]) -> str:
    shares = []
    for same in zip(*(record["layers"] for record in records), strict=True):
        sizes = [layer["nonzeros"] / math.prod(layer["shape"]) for layer in same]
        shares.append(100 * sum(sizes) / len(sizes))
    return "/".join(f"{share:.3g}" for share in shares)


def _median_units(records: Sequence[Record]) -> tuple[int, ...]:
    return tuple(sorted(n)[len(n) // 2] for n in zip(*map(units_in_use, records), strict=True))
