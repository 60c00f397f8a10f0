"""What papers claim of pruning at plateaus and of plasticity, tested on the records of a study."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.studies.densities import (
    by_seed,
    density_asked,
    density_reached,
    entropy,
    error,
    mean,
    plain,
    settings,
    sharpness,
)
from experiments.studies.papers import units_in_use
from gpnas.report import Cell, Column, Table, stats

Record = Mapping[str, Any]
Measure = Callable[[Record], float]


def claim_table(records: Sequence[Record]) -> Table:
    """Each claim, whether it shows, and the figures; claims without records are left out.

    Args:
      records: Of a study with arms named "LOBSTER", "SeReNe", "gradual" and "one-shot" at equal
        densities, "NPN" at several prices, "NPN expand" and "dense".

    References:
      LOBSTER (arXiv:2011.09905), SeReNe (arXiv:2102.03773), PSP-entropy (arXiv:2004.14765), NPN
      (arXiv:1908.08118).
    """
    arms: dict[str, list[Record]] = {}
    for record in records:
        arms.setdefault(record["arm"], []).append(record)
    found = [
        _lower("LOBSTER: errs less than the same loop without its decay",
               arms, "LOBSTER", "gradual", error, "points"),
        _lower("SeReNe: leaves fewer hidden units than LOBSTER",
               arms, "SeReNe", "LOBSTER", hidden_units, "units"),
        _lower("PSP-entropy: gradual pruning errs less than one-shot",
               arms, "gradual", "one-shot", error, "points"),
        _lower("PSP-entropy: gradual ends in narrower minima (larger top eigenvalue)",
               arms, "one-shot", "gradual", sharpness, "less for one-shot"),
        _lower("PSP-entropy: gradual ends with a larger entropy of states",
               arms, "one-shot", "gradual", entropy, "bits less for one-shot"),
        _sparsifies(arms.get("NPN", []), arms.get("dense", [])),
        _expands(arms.get("NPN expand", []), arms.get("dense", [])),
    ]  # fmt: skip
    rows = [[Cell(text) for text in claim] for claim in found if claim]
    columns = [Column(label, numeric=False) for label in ("claim", "shows", "figures")]
    note = (
        "Paired by density and seed, over the densities that both reached (to a tenth); it shows"
        " if the 95 % interval over seeds excludes zero."
    )
    return Table("What the papers claim", columns, rows, [note])


def hidden_units(record: Record) -> float:
    """Hidden units in use."""
    return float(sum(units_in_use(record)[1:]))


def difference(
    ours: Sequence[Record], theirs: Sequence[Record], f: Measure
) -> stats.Estimate | None:
    """Mean over densities of `f`, ours minus theirs, and its interval over seeds."""
    other = {(density_asked(r), r["seed"]): r for r in theirs}
    gaps: dict[int, list[float]] = {}
    for record in ours:
        twin = other.get((density_asked(record), record["seed"]))
        if twin is not None and _alike(density_reached(record), density_reached(twin)):
            gaps.setdefault(record["seed"], []).append(f(record) - f(twin))
    return stats.estimate(sum(gap) / len(gap) for gap in gaps.values())


def _alike(a: float, b: float) -> bool:
    return abs(a - b) <= 0.1 * max(a, b)


def _lower(
    claim: str, arms: Mapping[str, list[Record]], ours: str, theirs: str, f: Measure, unit: str
) -> tuple[str, str, str] | None:
    if ours not in arms or theirs not in arms:
        return None
    gap = difference(arms[ours], arms[theirs], f)
    if gap is None:
        return claim, "not tested", "no density that both reached"
    return (
        claim,
        _yes(gap.half is not None and gap.mean + gap.half < 0),
        f"{plain(gap, '+.3g')} {unit}",
    )


def _sparsifies(npn: list[Record], dense: list[Record]) -> tuple[str, str, str] | None:
    """Whether there is a price that closes half of the weights and costs no accuracy."""
    claim = "NPN: sparsifies to half and less without a loss of accuracy"
    if not npn or not dense:
        return None
    base = by_seed(dense, error)
    sparse = [group for group in settings(npn) if mean(group, density_reached) < 0.5]
    gaps = [stats.paired_difference(by_seed(group, error), base) for group in sparse]
    best = min((gap for gap in gaps if gap), key=lambda gap: gap.mean, default=None)
    if best is None:
        return claim, "no", "no price closed half of the weights"
    return (
        claim,
        _yes(best.mean - (best.half or 0) <= 0),
        f"at best {plain(best, '+.3g')} points to dense",
    )


def _expands(npn: list[Record], dense: list[Record]) -> tuple[str, str, str] | None:
    """Whether units become active one by one, and the error comes near the dense network's."""
    if not npn or not dense:
        return None
    units, first = stats.estimate(map(hidden_units, npn)), npn[0]["config"]["method"]["first_units"]
    base, ours = stats.estimate(map(error, dense)), stats.estimate(map(error, npn))
    assert units and base and ours
    grown = units.mean - (units.half or 0) > 2 * first * (len(npn[0]["layers"]) - 1)
    figures = f"{units.mean:.0f} hidden units; {ours.mean:.2f} %, dense {base.mean:.2f} %"
    claim = f"NPN: expands from {first} units a layer to more than twice as many"
    return claim, _yes(grown), figures


def _yes(shows: bool) -> str:
    return "yes" if shows else "no"
