"""The targets of the front, what the records show, and whether each is met."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments.benchmarks.front import WALL_RATIOS
from experiments.studies.front.run import FIELDS, LONG
from experiments.studies.front_rivals.growing import OVERSHOOT, PRUNING
from experiments.studies.front_rivals.run import SEARCHES
from experiments.studies.front_rivals.tables import FRONT, UNIFORM, WIDTHS, Rows
from gpnas.report import Cell, Column, Table, stats

_SIX, _SIX_ALONE = "front, six networks", "uniform as long as six"
_SHORTER = "front, 14 epochs"  # at most 0.6 of the training FLOPs of pruning only
_GROWING = "growing only"
_NONE = "no records yet"
_QUARTER = 0.25

#: `{arm: {seed: {level: test error in %, "flops": training FLOPs ÷ dense}}}`.
Errors = Mapping[str, Mapping[int, Mapping]]


class Known(NamedTuple):
    """What is known of the front and its baselines.

    Attributes:
      config: The study's config.
      rows: Networks by arm and seed.
      errors: Errors of `rows` and of the study `front`.
      fronts: Records of fronts by row and seed.
      records: Records of the baselines, at the chosen settings.
      latency: Records of latencies.
      newborns: Records of the gradients of grown units.
      rounds: Records of the wall times of a front and of pruning only.
      walls: Wall times of a front relative to one dense training, by name of the measurement.
      reference: Error of the reference point of hypervolumes.
    """

    config: ConfigDict
    rows: Rows
    errors: Errors
    fronts: Mapping[str, Mapping[int, Mapping[str, Any]]]
    records: Sequence[Mapping[str, Any]]
    latency: Sequence[Mapping[str, Any]]
    newborns: Sequence[Mapping[str, Any]]
    rounds: Sequence[Mapping[str, Any]]
    walls: Mapping[str, float]
    reference: float


class _Line(NamedTuple):
    target: str
    result: str
    verdict: str


def targets_table(known: Known) -> Table:
    """Tabulates each target, the result and the verdict."""
    lines = [
        *_hypervolumes(known),
        *_errors(known),
        *_parts(known),
        *_gradients(known),
        *_against_pruning(known),
        *_measured(known),
        *_of_six(known),
        _cost(known),
    ]
    note = (
        "Differences of test errors in points, seed by seed, positive if the first arm is better;"
        " with the 95 % interval. Met: the mean reaches the target and the interval excludes zero;"
        " if the target is no worse or a ratio, the mean reaches it. Not shown: the interval"
        " includes zero. Better, worse: it does not. Two fixed networks: each arm found the same"
        " widths with all seeds, which is no evidence about the methods."
    )
    columns = [Column(name, numeric=False) for name in ("target", "result", "verdict")]
    return Table("Targets", columns, [[*map(Cell, line)] for line in lines], [note])


def _hypervolumes(known: Known) -> Iterable[_Line]:
    most = max(known.config.budgets)
    rivals = [f"{arm}, {most:g} ×" for arm in SEARCHES]
    for rival in (*rivals, "slimmable"):
        ours, theirs = (
            {seed: one.hypervolume(known.reference) for seed, one in known.rows.get(n, {}).items()}
            for n in (WIDTHS, rival)
        )
        found = stats.paired_difference(ours, theirs)
        target = f"hypervolume of {WIDTHS} larger than that of {rival}"
        yield _Line(target, _text(found), _met(found, 0.0))


def _errors(known: Known) -> Iterable[_Line]:
    for arm, rival in ((FRONT, UNIFORM), (f"front, {LONG}", f"uniform {LONG}")):
        yield _by_level(
            known, f"{arm} better than {rival} by 0.4, 0.6 and 1.0", arm, rival,
            {0.25: 0.4, 0.12: 0.6, 0.06: 1.0},
        )  # fmt: skip
    for arm, rival in ((OVERSHOOT, "uniform as overshoot"), (_GROWING, UNIFORM)):
        flops = ""
        if arm in known.errors and rival in known.errors:
            flops = f", of {_flops(known, rival) / _flops(known, arm):.2f} × its FLOPs,"
        target = f"single run, {arm}, better than {rival}{flops} by 0.3"
        yield _by_level(known, target, arm, rival, {0.25: 0.3, 0.12: 0.3})
    wanted = dict.fromkeys(known.config.front.front, 1.0)
    yield _by_level(known, "front better than random units by 1.0", FRONT, "random units", wanted)


def _flops(known: Known, arm: str) -> float:
    """Returns the mean training FLOPs of an arm's networks, relative to one dense training."""
    return float(np.mean([own["flops"] for own in known.errors[arm].values()]))


def _parts(known: Known) -> Iterable[_Line]:
    """Compares growth by V, exchange and overshoot with runs without them."""
    for name, arm, rival in (
        ("growth by V", _GROWING, "random growth"),
        ("exchange while growing", "growing with exchange", _GROWING),
        ("exchange in a front (deleted)", "exchange", FRONT),
        ("overshoot", OVERSHOOT, _GROWING),
    ):
        wanted = dict.fromkeys(known.config.front.front, 0.0)
        target = f"{name}: better than {rival}, or deleted"
        yield _by_level(known, target, arm, rival, wanted, _shown)


def _gradients(known: Known) -> Iterable[_Line]:
    """Returns the highest mean norm of grown units' gradients after 1 to 200 steps."""
    for side in ("incoming", "outgoing"):
        own = [record[side] for record in known.newborns if record["arm"] == _GROWING]
        ages = [age for age in own[0] if 0 < int(age) <= 200] if own else []
        means = [stats.estimate(one[age] for one in own) for age in ages]
        highest = max(filter(None, means), key=lambda found: found.mean, default=None)
        yield _Line(
            f"gradient of {side} weights of grown units ÷ that of older ones ≥ 0.5 within 200"
            f" steps: {_GROWING}",
            _text(highest), _reached(highest, 0.5),
        )  # fmt: skip


def _against_pruning(known: Known) -> Iterable[_Line]:
    target = f"{_SHORTER}, no worse than {PRUNING} at ≤ 0.6 of its FLOPs"
    if _SHORTER in known.errors and PRUNING in known.errors:
        target += f" ({_flops(known, _SHORTER) / _flops(known, PRUNING):.2f})"
    wanted = dict.fromkeys(known.config.front.front, 0.0)
    yield _by_level(known, target, _SHORTER, PRUNING, wanted, _reached)
    target = f"wall time of {_SHORTER}, ÷ that of {PRUNING} ≤ 0.6"
    ratios = [one["seconds"]["front"] / one["seconds"]["pruning"] for one in known.rounds]
    if not ratios:
        yield _Line(target, _NONE, _NONE)
    else:
        value = float(np.median(ratios))
        result = f"{value:.2f} (median of {len(ratios)})"
        yield _Line(target, result, "met" if value <= 0.6 else "missed")


def _measured(known: Known) -> Iterable[_Line]:
    for times, name in WALL_RATIOS.items():
        wall, longer = known.walls.get(name), f", {times} times the epochs" if times > 1 else ""
        yield _Line(
            f"wall time of a front (configs/front.py{longer}) ÷ that of one dense training ≤ 1.0",
            _NONE if wall is None else f"{wall:.2f}",
            _NONE if wall is None else "met" if wall <= 1 else "missed",
        )
    for arm in dict.fromkeys(record["arm"] for record in known.latency):
        values = [_gain(r, "level-0.25") for r in known.latency if r["arm"] == arm]
        found = stats.estimate(values)
        yield _Line(
            f"speed-up ÷ reduction of MACs at 25 %, batch 64, one thread, ≥ 0.6: {arm}",
            _text(found), _reached(found, 0.6),
        )  # fmt: skip


def _gain(record: Mapping[str, Any], network: str) -> float:
    (line,) = (
        one for one in record["networks"][network] if (one["batch"], one["threads"]) == (64, 1)
    )
    return float(line["speedup"] * record["macs"][network])


def _of_six(known: Known) -> Iterable[_Line]:
    if _SIX in known.fronts:
        config, epochs = known.config.front, FIELDS["six networks"]["train"]["epochs"]
        flops, first = _flops(known, _SIX), next(iter(known.fronts[_SIX].values()))["networks"]
        own = epochs * first[0]["step"] / first[-1]["step"] + config.branch_epochs
        lengths = (epochs + config.branch_epochs, own)
        ratios = [flops / (length / config.train.epochs) for length in lengths]
        result = "; ".join(
            f"{ratio:.2f} (largest trained for {length:g} epochs)"
            for ratio, length in zip(ratios, lengths, strict=True)
        )
        verdict = "; ".join(
            f"{'met' if ratio <= 1.3 else 'missed'} for {length:g} epochs"
            for ratio, length in zip(ratios, lengths, strict=True)
        )
        yield _Line("FLOPs of six networks ÷ those of the largest ≤ 1.3", result, verdict)
    levels = FIELDS["six networks"]["front"]
    yield _by_level(
        known, f"six networks worse than {_SIX_ALONE} by at most 0.1", _SIX, _SIX_ALONE,
        {level: -0.1 for level in levels if level > _QUARTER}, _reached,
    )  # fmt: skip
    yield _by_level(
        known, f"six networks better than {_SIX_ALONE} by 0.3", _SIX, _SIX_ALONE,
        {level: 0.3 for level in levels if level <= _QUARTER},
    )  # fmt: skip


def _cost(known: Known) -> _Line:
    ratios = [
        one["relative_macs"] / one["level"]
        for record in known.fronts[FRONT].values()
        for one in record["networks"]
    ]
    result = f"{100 * min(ratios):.1f} to {100 * max(ratios):.1f} % of the level"
    met = "met" if max(ratios) <= 1 + 1e-6 else "missed"
    return _Line("cost of each network of the front at most the level", result, met)


def _by_level(
    known: Known,
    target: str,
    arm: str,
    rival: str,
    wanted: Mapping[float, float],
    judge: Callable[[stats.Estimate | None, float], str] | None = None,
) -> _Line:
    """Compares two arms at each level; a level at which each has one network for all seeds is no
    evidence of a difference between methods."""
    found = {level: _better(known.errors, arm, rival, level) for level in wanted}
    if not any(found.values()):
        return _Line(target, _NONE, _NONE)
    verdicts: dict[str, list[str]] = {}
    for level, one in found.items():
        fixed = all(len(_widths(known, name, level)) == 1 for name in (arm, rival))
        verdict = "two fixed networks" if fixed else (judge or _met)(one, wanted[level])
        verdicts.setdefault(verdict, []).append(f"{100 * level:g}")
    result = "; ".join(f"{100 * level:g} %: {_text(one)}" for level, one in found.items())
    if len(verdicts) == 1:
        return _Line(target, result, next(iter(verdicts)))
    return _Line(target, result, "; ".join(f"{v} at {', '.join(x)} %" for v, x in verdicts.items()))


def _better(errors: Errors, arm: str, rival: str, level: float) -> stats.Estimate | None:
    """Returns how much lower the errors of an arm are than those of a rival."""
    theirs, ours = (
        {seed: own.get(level) for seed, own in errors.get(name, {}).items()}
        for name in (rival, arm)
    )
    return stats.paired_difference(theirs, ours)


def _widths(known: Known, arm: str, level: float) -> set[tuple[int, ...]]:
    """Returns the different networks that an arm found; none for uniform ones."""
    return {
        tuple(one["widths"])
        for record in known.records
        if record["arm"] == arm and record["seed"] in known.errors.get(arm, {})
        for one in record["networks"]
        if one["level"] == level and not arm.startswith("uniform")
    }


def _met(found: stats.Estimate | None, least: float) -> str:
    if found is None:
        return _NONE
    if found.mean < least:
        return "missed"
    enough = found.half is not None and found.mean - found.half > 0
    return ("met" if enough else "not shown") + _few(found)


def _shown(found: stats.Estimate | None, least: float) -> str:
    del least
    if found is None or found.half is None or abs(found.mean) <= found.half:
        return "not shown"
    return ("better" if found.mean > 0 else "worse") + _few(found)


def _reached(found: stats.Estimate | None, least: float) -> str:
    if found is None:
        return _NONE
    return ("met" if found.mean >= least else "missed") + _few(found)


def _few(found: stats.Estimate) -> str:
    return f" with {found.n} seeds" if 1 < found.n < 5 else ""


def _text(found: stats.Estimate | None) -> str:
    return stats.estimate_text(found) if found else _NONE
