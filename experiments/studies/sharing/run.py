"""Weight sharing: rank correlation with training alone, and search results at equal cost."""

import itertools
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from scipy import stats

from experiments.studies.proxies.run import SPACE, correlation
from experiments.studies.sharing.config import get_config
from experiments.studies.study import matching
from gpnas import plugins
from gpnas._files import append_line, read_lines, records_path
from gpnas._sections import check_section, check_whole
from gpnas.data import Dataset
from gpnas.errors import UserError
from gpnas.models import Supernet201, cell201, choice
from gpnas.search import (
    BenchmarkTable,
    TooManyFailures,
    Trial,
    best,
    evaluated,
    load_table,
    search,
    simulate,
)
from gpnas.search.darts import discretise, first_order
from gpnas.search.record import describe_search
from gpnas.search.sharing import (
    FORWARD,
    Pictures,
    Recipe,
    Shared,
    by_shared_weights,
    make_shared,
    minibatches,
    pictures,
    selection_macs,
    train_alone,
    train_shared,
)
from gpnas.search.strategies import asha, successive_halving
from gpnas.train import load_data, percent

_LIMITS = {"architectures": 40, "seeds": 1, "channels": 1, "cells": 1, "batch": 2, "steps": 1,
           "final_steps": 1, "budget": 1, "candidates": 2, "finalists": 1, "minibatches": 1,
           "reduction": 2, "seed": 0}  # fmt: skip
# What records must share to be compared: all but how many seeds and which methods.
_SAME = (*(field for field in _LIMITS if field != "seeds"), "learning_rate", "data.name",
         "data.image_size", "data.validation", "data.seed")  # fmt: skip
_BEST = "cifar10_test_200"  # the table's metric that says which of its cells is the best


class Spent(NamedTuple):
    """What a search cost: steps on a minibatch, an evaluation being a third of one; MACs."""

    steps: float
    macs: float


class Found(NamedTuple):
    """What a search came to.

    Attributes:
      architecture: The choice.
      spent: What it cost.
      candidates: Architectures that were looked at.
      error: Of the choice on the validation images, as the search saw it; a fraction, or None.
      params: Of a supernet that was trained on single paths, or None.
    """

    architecture: tuple[str, ...]
    spent: Spent
    candidates: int
    error: float | None = None
    params: Any = None


class Lab(NamedTuple):
    """All that is the same for every unit of work."""

    config: ConfigDict
    table: BenchmarkTable
    sample: list[tuple[str, ...]]
    supernet: Supernet201
    shared: Shared
    recipe: Recipe
    train: Pictures
    held: Pictures
    test: Pictures
    rows: np.ndarray
    macs: Callable[[np.ndarray], int]


def share(config: ConfigDict, results: str | pathlib.Path) -> pathlib.Path:
    """Does the units of work that are missing, and returns the path of their records.

    A unit is one network trained alone ("alone"), or one search and its final network ("method"),
    with the errors that its supernet predicts for the networks trained alone, if it has one.

    Args:
      config: As config.py beside this has it.
      results: One record a unit is appended to results/STUDY/records.jsonl.

    Raises:
      UserError: If any setting is invalid; nothing was done then.
    """
    check(config)
    path = records_path(results, config.study)
    table = load_table(SPACE)
    sample = _sample(config, table)
    done = {_key(record) for record in matching(read_lines(path), config, _SAME)}
    missing = [unit for unit in _units(config, sample) if unit not in done]
    if not missing:
        return path
    data = load_data(config)
    lab = _lab(config, data, table, sample)
    path.parent.mkdir(parents=True, exist_ok=True)
    for part, arm, seed in missing:
        so_far = matching(read_lines(path), config, _SAME)
        begun = time.perf_counter()
        came = _PARTS[part](lab, arm, seed, so_far)
        wall = {"wall_s": round(time.perf_counter() - begun, 3)}
        described = describe_search(config.to_dict(), arm)
        told = {"part": part, "seed": seed, "dataset": data.name, "dataset_sha256": data.sha256}
        append_line(path, described | told | came | wall)
    return path


def check(config: ConfigDict) -> None:
    """Checks the settings, as far as that is possible without the images.

    Raises:
      UserError: If not.
    """
    check_section(config, get_config(), source="experiments/studies/sharing/config.py")
    for field, least in _LIMITS.items():
        check_whole(config, field, least)
    if not 0 < config.learning_rate < math.inf:
        raise UserError("learning_rate", config.learning_rate, "a number above 0")
    for name in config.methods:
        plugins.find("methods", name, METHODS)
    if config.finalists > config.candidates:
        raise UserError("finalists", config.finalists, f"at most {config.candidates}, candidates")


def _key(record: Mapping[str, Any]) -> tuple[str, str, int]:
    return record["part"], record["arm"], record["seed"]


def _sample(config: ConfigDict, table: BenchmarkTable) -> list[tuple[str, ...]]:
    rows = np.random.default_rng(config.seed).permutation(len(table.rows))
    everything = list(table.rows)
    return [everything[row] for row in rows[: config.architectures]]


def _units(config: ConfigDict, sample: Sequence[Sequence[str]]) -> list[tuple[str, str, int]]:
    """(part, arm, seed) in order."""
    units = [("alone", " ".join(architecture), config.seed) for architecture in sample]
    searches = itertools.product(config.methods, range(config.seeds))
    return units + [("method", name, seed) for name, seed in searches]


def _lab(config: ConfigDict, data: Dataset, table: BenchmarkTable, sample: list) -> Lab:
    supernet = Supernet201(
        data.num_classes, channels=config.channels, cells=config.cells, conv="im2col"
    )
    recipe = Recipe(config.learning_rate)
    fewest = min(len(split) for split in (data.train, data.validation, data.test))
    if config.batch > fewest:
        raise UserError(
            "batch", config.batch, f"at most {fewest}, the images of the smallest split"
        )
    held = pictures(data.validation, data)
    rows = minibatches(np.random.default_rng(config.seed), len(held.labels), config.batch)
    lab = Lab(
        config, table, sample, supernet, make_shared(supernet, data.input_shape, recipe), recipe,
        pictures(data.train, data), held, pictures(data.test, data), rows,
        selection_macs(supernet, data.input_shape),
    )  # fmt: skip
    _check_budget(lab)
    return lab


def _check_budget(lab: Lab) -> None:
    c, most = lab.config, len(lab.sample) // lab.config.seeds
    if not c.minibatches < len(lab.rows):
        raise UserError("minibatches", c.minibatches, f"1 to {len(lab.rows) - 1}")
    count = _candidates(lab)
    trained = {"random": 1 <= count <= most, "ASHA": count >= 1}
    if not all(fits for name, fits in trained.items() if name in c.methods):
        allowed = f"for 1 to {most} networks of {_whole(lab, c.steps):.0f} steps"
        raise UserError("budget", c.budget, allowed)
    if "ASHA" in c.methods and c.steps < c.reduction**2:
        raise UserError("steps", c.steps, f"{c.reduction**2} or more, for ASHA's three budgets")
    if "weight sharing" in c.methods and _shared_steps(lab) < 1:
        least = c.budget - _shared_steps(lab) + 1
        raise UserError("budget", c.budget, f"{least} or more: candidates cost that much")


def _whole(lab: Lab, steps: int) -> float:
    """Steps that training and evaluating one network cost."""
    return steps + FORWARD * len(lab.rows)


def _candidates(lab: Lab) -> int:
    """Networks that random search can train."""
    return int(lab.config.budget // _whole(lab, lab.config.steps))


def _shared_steps(lab: Lab) -> int:
    """What the evaluations by shared weights leave for training."""
    c = lab.config
    looks = c.candidates * c.minibatches + c.finalists * len(lab.rows)
    return math.floor(c.budget - FORWARD * looks)


def _trained(lab: Lab, selection: np.ndarray, steps: float) -> Spent:
    return Spent(steps, 3 * steps * lab.config.batch * lab.macs(selection))


def _looked(lab: Lab, selection: np.ndarray, count: int) -> Spent:
    return Spent(FORWARD * count, count * lab.config.batch * lab.macs(selection))


def _sum(parts: Sequence[Spent]) -> Spent:
    return Spent(sum(part.steps for part in parts), sum(part.macs for part in parts))


def _error_alone(lab: Lab, architecture: Sequence[str], steps: int, seed: int) -> float:
    c, selection = lab.config, choice(architecture)
    params = train_alone(lab.shared, lab.train, selection, steps, c.batch, seed)
    return lab.shared.error(params, lab.held, selection, lab.rows)


def _alone(lab: Lab, arm: str, seed: int, records: Sequence[Mapping]) -> dict[str, Any]:
    architecture = tuple(arm.split())
    own = lab.sample.index(architecture)  # a seed of its own for each
    error = _error_alone(lab, architecture, lab.config.steps, own)
    return {"architecture": architecture, "metrics": {"val_error": percent(error)}}


def _method(lab: Lab, arm: str, seed: int, records: Sequence[Mapping]) -> dict[str, Any]:
    """A search, and what it found, trained from scratch; the test images are looked at once."""
    c = lab.config
    found = METHODS[arm](lab, seed, records)
    selection = choice(found.architecture)
    params = train_alone(lab.shared, lab.train, selection, c.final_steps, c.batch, seed)
    test_rows = minibatches(np.random.default_rng(c.seed), len(lab.test.labels), c.batch)
    record = {
        "architecture": found.architecture,
        "candidates": found.candidates,
        "cost": {"steps": round(found.spent.steps), "macs": round(found.spent.macs)},
        "metrics": {
            "search_error": None if found.error is None else percent(found.error),
            "val_error": percent(lab.shared.error(params, lab.held, selection, lab.rows)),
            "test_error": percent(lab.shared.error(params, lab.test, selection, test_rows)),
        },
        "final_macs": lab.macs(selection),
    }
    if found.params is not None:
        shared = [
            percent(lab.shared.error(found.params, lab.held, choice(architecture), lab.rows))
            for architecture in lab.sample
        ]
        record["rank"] = _rank(shared, [_alone_error(records, a) for a in lab.sample])
    return record


def _rank(shared: Sequence[float], alone: Sequence[float]) -> dict[str, Any]:
    """Kendall's τ between errors by shared weights and errors alone, of the whole sample."""
    found = correlation(shared, alone, statistic=stats.kendalltau)
    # Undefined where all errors with shared weights are equal; JSON has no NaN.
    shown = [round(x, 4) if math.isfinite(x) else None for x in found]
    names = ("tau", "low", "high")
    return dict(zip(names, shown, strict=True)) | {"shared": shared, "alone": alone}


def _alone_error(records: Sequence[Mapping[str, Any]], architecture: Sequence[str]) -> float:
    own = next(
        r
        for r in records
        if r["part"] == "alone" and tuple(r["architecture"]) == tuple(architecture)
    )
    return own["metrics"]["val_error"]


_PARTS = {"alone": _alone, "method": _method}


def _random(lab: Lab, seed: int, records: Sequence[Mapping]) -> Found:
    """Random search: its candidates are the next ones of the sample, which are trained already."""
    count = _candidates(lab)
    own = lab.sample[seed * count : (seed + 1) * count]
    errors = [_alone_error(records, architecture) for architecture in own]
    chosen = own[int(np.argmin(errors))]
    spent = [_one(lab, architecture, lab.config.steps) for architecture in own]
    return Found(chosen, _sum(spent), count, min(errors) / 100)


def _one(lab: Lab, architecture: Sequence[str], steps: int) -> Spent:
    selection = choice(architecture)
    return _sum([_trained(lab, selection, steps), _looked(lab, selection, len(lab.rows))])


def _winner(trials: Sequence[Trial]) -> Trial:
    """The best of those with the largest budget.

    Raises:
      TooManyFailures: If there is no trial, as all failed.
    """
    if not trials:
        raise TooManyFailures("every candidate failed")
    highest = max(trial.budget for trial in trials)
    return best([trial for trial in trials if trial.budget == highest], "error")


def _asha(lab: Lab, seed: int, records: Sequence[Mapping]) -> Found:
    """ASHA, one worker; a network that is promoted starts anew."""
    c = lab.config
    budgets = [c.steps // c.reduction**rung for rung in (2, 1, 0)]

    def evaluate(trial: Trial) -> dict[str, float]:
        own = 1000 * (seed + 1) + trial.number
        return {"error": _error_alone(lab, trial.architecture, trial.budget, own)}

    propose = asha(lab.table.space, "error", budgets, c.reduction)
    ended = simulate(
        propose, evaluate, lambda t: _whole(lab, t.budget), workers=1, until=c.budget, seed=seed
    )
    trials = evaluated([trial for _, trial in ended])
    winner = _winner(trials)
    spent = _sum([_one(lab, trial.architecture, trial.budget) for trial in trials])
    looked_at = len({trial.architecture for trial in trials})
    assert winner.metrics is not None
    return Found(winner.architecture, spent, looked_at, winner.metrics["error"])


def _weight_sharing(lab: Lab, seed: int, records: Sequence[Mapping]) -> Found:
    """Random search with weight sharing."""
    c, space = lab.config, lab.table.space
    rng = np.random.default_rng((seed, 1))
    paths = np.stack([choice(space.sample(rng)) for _ in range(_shared_steps(lab))])
    params = train_shared(lab.shared, lab.train, paths, c.batch, seed)
    budgets = (c.minibatches, len(lab.rows))
    propose = successive_halving(
        space, "error", budgets, c.candidates // c.finalists, first=c.candidates
    )
    evaluate = by_shared_weights(lab.shared, params, lab.held, lab.rows, choice)
    trials = evaluated(search(propose, evaluate, c.candidates + c.finalists, seed))
    winner = _winner(trials)
    spent = [_trained(lab, path, 1) for path in paths]
    spent += [_looked(lab, choice(t.architecture), t.budget) for t in trials]
    assert winner.metrics is not None
    return Found(winner.architecture, _sum(spent), c.candidates, winner.metrics["error"], params)


def _darts(lab: Lab, seed: int, records: Sequence[Mapping]) -> Found:
    """First-order DARTS: a turn is two steps, each through all operations."""
    c = lab.config
    turns = c.budget // 2
    mixture = first_order(
        lab.supernet, lab.shared, lab.train, lab.held, turns, c.batch, seed, lab.recipe
    )
    everything = np.ones((len(cell201.EDGES), len(cell201.OPERATIONS)))
    return Found(discretise(mixture.alpha), _trained(lab, everything, 2 * turns), 0)


def _best_of_table(lab: Lab, seed: int, records: Sequence[Mapping]) -> Found:
    """For orientation: the cell that is best on CIFAR-10 at full size."""
    row = int(np.argmin(lab.table.metrics[_BEST]))
    return Found(list(lab.table.rows)[row], Spent(0, 0), 0)


METHODS: dict[str, Callable[[Lab, int, Sequence[Mapping]], Found]] = {
    "random": _random,
    "ASHA": _asha,
    "weight sharing": _weight_sharing,
    "DARTS": _darts,
    "best on CIFAR-10": _best_of_table,
}
