"""Papers' claims about pruning at plateaus and plasticity, tested on the records of a study."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.studies.densities import (
    by_seed,
    density_reached,
    entropy,
    error,
    mean,
    plain,
    reached_pairs,
    settings,
    sharpness,
)
from experiments.studies.papers import units_in_use
from experiments.studies.verdicts import no_loss, verdict
from gpnas.report import Cell, Column, Table, stats

Record = Mapping[str, Any]
Measure = Callable[[Record], float]


def claim_table(records: Sequence[Record]) -> Table:
    """Tabulates each claim with verdict and numbers; claims without records are left out.

    Args:
      records: Of a study with arms named "LOBSTER", "SeReNe", "gradual" and "one-shot" at equal
        densities, "NPN" and "NPN SGD" at several penalties, "NPN expand", "dense with Adam" and
        "dense".

    References:
      LOBSTER (arXiv:2011.09905), SeReNe (arXiv:2102.03773), PSP-entropy (arXiv:2004.14765), NPN
      (arXiv:1908.08118).
    """
    arms: dict[str, list[Record]] = {}
    for record in records:
        arms.setdefault(record["arm"], []).append(record)
    found = [
        _gap("LOBSTER: errs less than the same loop without its decay",
             arms, ("LOBSTER", "gradual"), error, "points", -1),
        _gap("SeReNe: leaves fewer hidden units than LOBSTER",
             arms, ("SeReNe", "LOBSTER"), hidden_units, "units", -1),
        _gap("PSP-entropy: gradual pruning errs less than one-shot",
             arms, ("gradual", "one-shot"), error, "points", -1),
        _gap("PSP-entropy: gradual ends in narrower minima (larger top eigenvalue)",
             arms, ("gradual", "one-shot"), sharpness, "", 1),
        _gap("PSP-entropy: gradual ends with a larger entropy of states",
             arms, ("gradual", "one-shot"), entropy, "bits", 1),
        _sparsifies(arms, "NPN", "dense with Adam"),
        _sparsifies(arms, "NPN SGD", "dense"),
        _expands(arms.get("NPN expand", []), arms.get("dense with Adam", [])),
    ]  # fmt: skip
    rows = [[Cell(text) for text in claim] for claim in found if claim]
    columns = [Column(label, numeric=False) for label in ("claim", "shows", "figures")]
    note = (
        "Paired by density and seed, over the densities that both reached (to a tenth). Yes: the"
        " 95 % interval over seeds is on the claimed side of zero; no: it is on the other side; not"
        " shown: it includes zero. NPN is compared with the dense network of its own recipe, at the"
        " penalty λ with the lowest validation error among those that leave less than half of the"
        " weights; these validation errors are of the same seeds."
    )
    return Table("What the papers claim", columns, rows, [note])


def hidden_units(record: Record) -> float:
    """Returns the number of hidden units in use."""
    return float(sum(units_in_use(record)[1:]))


def difference(
    ours: Sequence[Record], theirs: Sequence[Record], f: Measure
) -> stats.Estimate | None:
    """Averages `f` over densities, ours minus theirs, with its interval over seeds."""
    gaps: dict[int, list[float]] = {}
    for record, twin in reached_pairs(ours, theirs):
        gaps.setdefault(record["seed"], []).append(f(record) - f(twin))
    return stats.estimate(sum(gap) / len(gap) for gap in gaps.values())


def _gap(
    claim: str,
    arms: Mapping[str, list[Record]],
    pair: tuple[str, str],
    f: Measure,
    unit: str,
    sign: int,
) -> tuple[str, str, str] | None:
    """Tests a claim that the first of two arms has more of a measure (sign 1), or less (-1)."""
    ours, theirs = pair
    if ours not in arms or theirs not in arms:
        return None
    gap = difference(arms[ours], arms[theirs], f)
    if gap is None:
        return claim, "not tested", "no density that both reached"
    figures = f"{ours} minus {theirs}: {plain(gap, '+.2f')} {unit}"
    return claim, verdict(gap, sign), figures.strip()


def _sparsifies(
    arms: Mapping[str, list[Record]], name: str, twin: str
) -> tuple[str, str, str] | None:
    """Tests whether an arm closes half of the weights without loss to the dense arm of its
    recipe."""
    if "NPN" not in arms and "NPN SGD" not in arms:
        return None
    claim = f"{name}: sparsifies to half and less without a loss of accuracy"
    absent = [arm for arm in (name, twin) if arm not in arms]
    if absent:
        return claim, "not tested", f"not run: {', '.join(absent)}"
    sparse = [group for group in settings(arms[name]) if mean(group, density_reached) < 0.5]
    if not sparse:
        least = min(settings(arms[name]), key=lambda group: mean(group, density_reached))
        left = stats.estimate(100 * density_reached(record) for record in least)
        above = stats.estimate(100 * density_reached(record) - 50 for record in least)
        assert above
        figures = f"no penalty closed half of the weights: {plain(left, '.3g')} % remain"
        return claim, verdict(above, -1), f"{figures} at λ = {_price(least[0])}"
    best = min(sparse, key=lambda group: mean(group, _validation_error))
    gap = stats.paired_difference(by_seed(best, error), by_seed(arms[twin], error))
    if gap is None:
        return claim, "not tested", f"no seed in common with {twin}"
    weights = f"{100 * mean(best, density_reached):.0f} % of the weights"
    figures = (
        f"{name} minus {twin}: {plain(gap, '+.2f')} points at λ = {_price(best[0])}, {weights}"
    )
    return claim, no_loss(gap), figures


def _price(record: Record) -> str:
    return ", ".join(f"{x:g}" for x in record["config"]["method"]["penalties"])


def _validation_error(record: Record) -> float:
    return record["metrics"]["val_error_last"]


def _expands(npn: list[Record], dense: list[Record]) -> tuple[str, str, str] | None:
    """Tests whether more units become active; gives the errors beside the verdict."""
    if not npn:
        return None
    first = npn[0]["config"]["method"]["first_units"]
    twice = 2 * first * (len(npn[0]["layers"]) - 1)
    more = stats.estimate(hidden_units(record) - twice for record in npn)
    base, ours = stats.estimate(map(error, dense)), stats.estimate(map(error, npn))
    assert more and ours
    units = more.mean + twice
    other = f"dense with Adam {base.mean:.2f} %" if base else "dense with Adam not run"
    figures = f"{units:.0f} hidden units; {ours.mean:.2f} %, {other}"
    claim = f"NPN: expands from {first} units a layer to more than twice as many"
    return claim, verdict(more), figures
