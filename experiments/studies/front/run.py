"""Runs of the study: fronts at several rates, their controls, and found networks from scratch."""

import pathlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments.studies.study import Options
from gpnas.deploy import front, installed_formats
from gpnas.records import append_line, read_json, read_lines
from gpnas.train import Stopped, load_data, train_front

LONG = "three times as long"
FIELDS: Mapping[str, Mapping[str, Any]] = {
    "front": {},
    "dense": {"front": (1.0,)},
    "exchange": {"method": {"name": "experiments.studies.front.arms:exchange", "spare": 0.25}},
    "random units": {"method": {"name": "experiments.studies.front.arms:random_units"}},
    "multiples of 8": {"front": (0.5, 0.25), "method": {"round_to": 8}},
    "equal shares": {"method": {"name": "experiments.studies.front.arms:equal_shares"}},
    "twice as long": {"train": {"epochs": 16}, "branch_epochs": 4},
    LONG: {"train": {"epochs": 24}, "branch_epochs": 6},
    "14 epochs": {"train": {"epochs": 14}, "branch_epochs": 3},
    "six networks": {"front": (1.0, 0.7, 0.5, 0.25, 0.12, 0.06), "train": {"epochs": 12}},
}


def run(config: ConfigDict, options: Options) -> None:
    """Appends the missing records."""
    path = options.results / config.study / "records.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = load_data(config.front)

    def once(arm: str, rate: float, seed: int, **fields: bool) -> None:
        done = {(r["arm"], r["rate"], r["seed"]) for r in read_lines(path)}
        if (arm, rate, seed) in done:
            return
        if options.stopped():
            raise Stopped("stopped before the next front")
        one = front_config(config, arm, rate, seed)
        one.update(fields)
        record = train_front(one, _folder(config, options, arm, rate, seed), data)
        record.pop("digest")  # of front.json
        append_line(path, {"study": config.study, "arm": arm, "rate": rate, **record})

    for seed in config.tuning_seeds:
        for rate in config.rates:
            once("front", rate, seed, baselines=True)
    rates = chosen_rates(read_lines(path), config)
    for seed in config.seeds:
        for rate in sorted(set(rates.values())):
            uniform, networks = (rate == rates[kind] for kind in ("uniform", "networks"))
            once("front", rate, seed, baselines=uniform, retrain=networks)
    for arm in config.arms[1:]:
        for seed in config.seeds:
            once(arm, rates["networks"], seed)
    if "onnx" in installed_formats():
        _measure(config, options, rates["networks"])


def front_config(config: ConfigDict, arm: str, rate: float, seed: int) -> ConfigDict:
    """Returns the config of the front of an arm, for `train_front`."""
    one = config.front.copy_and_resolve_references().unlock()
    one.seed, one.optimizer.learning_rate, one.resume = seed, rate, True
    one.update(FIELDS[arm])
    return one


def _folder(config: ConfigDict, options: Options, arm: str, rate: float, seed: int) -> pathlib.Path:
    return options.workdir / config.study / f"{arm.replace(' ', '-')}-{rate:g}-{seed}"


def _measure(config: ConfigDict, options: Options, rate: float) -> None:
    """Appends the latencies of the arms of `config.timed` that have been trained."""
    path = options.results / config.study / "latency.jsonl"
    for arm in config.timed:
        for seed in config.seeds:
            folder = _folder(config, options, arm, rate, seed)
            done = {(r["arm"], r["rate"], r["seed"]) for r in read_lines(path)}
            trained = (folder / "front.json").exists()
            if (arm, rate, seed) in done or not trained or options.stopped():
                continue
            front.export_front(folder, ("onnx",), config.seconds)
            record = read_json(folder / "front.json", "workdir", "a front")
            measured = read_json(folder / "latency.json", "workdir", "latencies")
            macs = {one["folder"]: one["relative_macs"] for one in record["networks"]}
            measured = {k: v for k, v in measured.items() if k not in ("digest", "sha256")}
            about = {"study": config.study, "arm": arm, "rate": rate, "seed": seed, "macs": macs}
            append_line(path, {**about, **measured})


def chosen_rates(records: list, config: ConfigDict) -> dict[str, float]:
    """Returns rates of lowest mean validation error on the tuning seeds: `{"networks",
    "uniform"}`."""
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
