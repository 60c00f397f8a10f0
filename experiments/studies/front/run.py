"""Runs of the study: fronts at several rates, their controls, and found networks from scratch."""

import pathlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments.studies.study import Options
from gpnas.records import append_line, read_lines
from gpnas.train import load_data, train_front

METHODS: Mapping[str, Mapping[str, Any]] = {
    "front": {},
    "exchange": {"churn": 0.2, "spare": 0.25},
    "random units": {"name": "experiments.studies.front.arms:random_units"},
    "equal shares": {"name": "experiments.studies.front.arms:equal_shares"},
}


def run(config: ConfigDict, options: Options) -> None:
    """Appends the records that are missing."""
    path = options.results / config.study / "records.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = load_data(config.front)
    for seed in config.tuning_seeds:
        for rate in config.rates:
            _once(config, "front", rate, seed, path, options, data)
    rates = chosen_rates(read_lines(path), config)
    for seed in config.seeds:
        for rate in sorted(set(rates.values())):
            _once(config, "front", rate, seed, path, options, data)
        for arm in config.arms[1:]:
            _once(config, arm, rates["networks"], seed, path, options, data)


def chosen_rates(records: list, config: ConfigDict) -> dict[str, float]:
    """Rates of the lowest mean validation error on the tuning seeds: `{"networks", "uniform"}`."""
    found = {}
    for kind in ("networks", "uniform"):
        errors: dict[float, list[float]] = {}
        for record in records:
            if record["arm"] == "front" and record["seed"] in config.tuning_seeds:
                errors.setdefault(record["rate"], []).extend(
                    one["val_error"] for one in record[kind]
                )
        found[kind] = min(errors, key=lambda rate: sum(errors[rate]) / len(errors[rate]))
    return found


def _once(
    config: ConfigDict,
    arm: str,
    rate: float,
    seed: int,
    path: pathlib.Path,
    options: Options,
    data: Any,
) -> None:
    done = {(r["arm"], r["rate"], r["seed"]) for r in read_lines(path)}
    if (arm, rate, seed) in done or options.stopped():
        return
    one = config.front.copy_and_resolve_references().unlock()
    one.seed, one.optimizer.learning_rate = seed, rate
    one.method.update(METHODS[arm])
    one.baselines = arm == "front"
    one.retrain = arm == "front" and seed not in config.tuning_seeds
    one.resume = True
    name = f"{arm.replace(' ', '-')}-{rate:g}-{seed}"
    record = train_front(one, options.workdir / config.study / name, data)
    record.pop("digest")  # of front.json
    append_line(path, {"study": config.study, "arm": arm, "rate": rate, **record})
