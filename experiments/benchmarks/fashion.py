"""Accuracy: test error at 2 % of the weights, from the records of the study `fashion`."""

from typing import Any

from gpnas.records import read_lines
from gpnas.report import stats

from .measure import Measurement, Missing, Options

_WEIGHTS = 0.02
_DENSITY, _SEEDS, _POINT = 0.08, 5, 1.0
_TARGET = (
    f"below GMP's, at least {_POINT} below RigL's, mean training density ≤ {_DENSITY},"
    f" {_SEEDS} paired seeds or more"
)


def fashion_2pct(options: Options) -> Measurement:
    """Development's mean test error, and the paired differences to GMP and RigL; no training."""
    path = options.results / "fashion" / "records.jsonl"
    if not path.exists():
        raise Missing("fashion_2pct", str(path), "records of experiments/studies/fashion")
    errors: dict[str, dict[int, float]] = {}
    densities: dict[int, float] = {}
    for record in read_lines(path):
        if record["config"]["method"].get("density", _WEIGHTS) != _WEIGHTS:
            continue
        arm, seed = record["arm"], record["seed"]
        errors.setdefault(arm, {})[seed] = record["metrics"]["test_error_last"]
        if arm == "development":
            densities[seed] = record["cost"]["mean_training_density"]
    for arm in ("development", "gmp", "rigl"):
        if arm not in errors:
            raise Missing("fashion_2pct", f"no {arm} in {path}", "records of all the study's arms")
    ours = errors["development"]
    gaps = {arm: stats.paired_difference(ours, errors[arm]) for arm in ("gmp", "rigl")}
    mean, density = stats.estimate(ours.values()), stats.estimate(densities.values())
    assert mean is not None and density is not None
    details: dict[str, Any] = {
        "half_of_95": mean.half,
        "seeds": mean.n,
        "mean_training_density": density.mean,
        "errors": {arm: _shown(stats.estimate(values.values())) for arm, values in errors.items()},
        "differences": {arm: _shown(gap) for arm, gap in gaps.items()},
    }
    found = [gap for gap in gaps.values() if gap is not None]
    holds = (
        len(found) == len(gaps)
        and all(gap.n >= _SEEDS for gap in found)
        and found[0].mean < 0
        and found[1].mean <= -_POINT
        and density.mean <= _DENSITY
    )
    return Measurement("fashion_2pct", mean.mean, "% test error", _TARGET, holds, details)


def _shown(found: Any) -> dict[str, Any] | None:
    return found and {"mean": found.mean, "half_of_95": found.half, "seeds": found.n}
