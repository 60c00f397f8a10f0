"""Weight sharing: rank correlation with standalone training, and search results at equal cost."""

import itertools
import math
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from scipy import stats

from experiments.studies.proxies.run import SPACE, correlation
from experiments.studies.sharing.config import get_config
from experiments.studies.sharing.costs import selection_macs
from experiments.studies.sharing.methods import (
    METHODS,
    Context,
    error_alone,
    network_steps,
    random_candidates,
    recorded_error,
    supernet_steps,
    train_alone,
)
from experiments.studies.sharing.shared import Recipe, image_split, make_shared, minibatches
from experiments.studies.study import matching
from experiments.studies.supernet201 import Supernet201, choice
from gpnas import plugins
from gpnas.data import Dataset
from gpnas.errors import UserError
from gpnas.records import append_line, read_lines, records_path
from gpnas.search import BenchmarkTable, load_table
from gpnas.search.record import describe_search, naming_arm
from gpnas.sections import check_integers, check_section
from gpnas.train import load_data, percent

_LIMITS = {"architectures": 40, "seeds": 1, "channels": 1, "cells": 1, "batch": 2, "steps": 1,
           "final_steps": 1, "budget": 1, "candidates": 2, "finalists": 1, "minibatches": 1,
           "reduction": 2, "seed": 0}  # fmt: skip
# Settings that comparable records share: all but the number of seeds and the methods.
_SAME = (*(field for field in _LIMITS if field != "seeds"), "learning_rate", "data.name",
         "data.image_size", "data.validation", "data.seed")  # fmt: skip


def share(config: ConfigDict, results: str | pathlib.Path) -> pathlib.Path:
    """Makes the missing records; returns their path.

    A record describes one network trained alone ("alone"), or one search and its final network
    ("method"). The latter has the errors predicted by its supernet, if any, for the networks
    trained alone.

    Args:
      config: Config from config.py of the study.
      results: Records are appended to results/STUDY/records.jsonl.

    Raises:
      UserError: If any setting is invalid; nothing has been run then.
      TooManyFailures: If the candidates of a search fail; the message names arm and seed.
    """
    check(config)
    path = records_path(results, config.study)
    table = load_table(SPACE)
    sample = _sample(config, table)
    records = matching(read_lines(path), config, _SAME)
    done = {_key(record) for record in records}
    missing = [key for key in _keys(config, sample) if key not in done]
    if not missing:
        return path
    data = load_data(config)
    context = _context(config, data, table, sample)
    path.parent.mkdir(parents=True, exist_ok=True)
    for part, arm, seed in missing:
        begun = time.perf_counter()
        with naming_arm(arm, seed):
            measured = _PARTS[part](context, arm, seed, records)
        record = {
            **describe_search(config.to_dict(), arm),
            **{"part": part, "seed": seed},
            **{"dataset": data.name, "dataset_sha256": data.sha256},
            **measured,
            "wall_s": round(time.perf_counter() - begun, 3),
        }
        append_line(path, record)
        records.append(record)
    return path


def check(config: ConfigDict) -> None:
    """Checks the settings, as far as possible without the images.

    Raises:
      UserError: If one is invalid.
    """
    check_section(config, get_config(), source="experiments/studies/sharing/config.py")
    check_integers(config, _LIMITS)
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


def _keys(config: ConfigDict, sample: Sequence[Sequence[str]]) -> list[tuple[str, str, int]]:
    """Returns (part, arm, seed) of all records, in order."""
    alone = [("alone", " ".join(architecture), config.seed) for architecture in sample]
    searches = itertools.product(config.methods, range(config.seeds))
    return alone + [("method", name, seed) for name, seed in searches]


def _context(config: ConfigDict, data: Dataset, table: BenchmarkTable, sample: list) -> Context:
    supernet = Supernet201(
        data.num_classes, channels=config.channels, cells=config.cells, conv="im2col"
    )
    recipe = Recipe(config.learning_rate)
    fewest = min(len(split) for split in (data.train, data.validation, data.test))
    if config.batch > fewest:
        raise UserError(
            "batch", config.batch, f"at most {fewest}, the images of the smallest split"
        )
    held = image_split(data.validation, data)
    rows = minibatches(np.random.default_rng(config.seed), len(held.labels), config.batch)
    context = Context(
        config, table, sample, supernet, make_shared(supernet, data.input_shape, recipe), recipe,
        image_split(data.train, data), held, image_split(data.test, data), rows,
        selection_macs(supernet, data.input_shape),
    )  # fmt: skip
    _check_budget(context)
    return context


def _check_budget(context: Context) -> None:
    c, most = context.config, len(context.sample) // context.config.seeds
    if not c.minibatches < len(context.rows):
        raise UserError("minibatches", c.minibatches, f"1 to {len(context.rows) - 1}")
    count = random_candidates(context)
    trained = {"random": 1 <= count <= most, "ASHA": count >= 1}
    if not all(fits for name, fits in trained.items() if name in c.methods):
        allowed = f"for 1 to {most} networks of {network_steps(context, c.steps):.0f} steps"
        raise UserError("budget", c.budget, allowed)
    if "ASHA" in c.methods and c.steps < c.reduction**2:
        raise UserError("steps", c.steps, f"{c.reduction**2} or more, for ASHA's three budgets")
    if "weight sharing" in c.methods and supernet_steps(context) < 1:
        least = c.budget - supernet_steps(context) + 1
        raise UserError("budget", c.budget, f"{least} or more: candidates cost that much")


def _alone(context: Context, arm: str, seed: int, records: Sequence[Mapping]) -> dict[str, Any]:
    architecture = tuple(arm.split())
    own = context.sample.index(architecture)  # a separate seed for each
    error = error_alone(context, architecture, context.config.steps, own)
    return {"architecture": architecture, "errors": {"val_error": percent(error)}}


def _method(context: Context, arm: str, seed: int, records: Sequence[Mapping]) -> dict[str, Any]:
    """Runs a search and trains its result from scratch; the test images are used once."""
    c, error = context.config, context.shared.error
    found = METHODS[arm](context, seed, records)
    selection = choice(found.architecture)
    params = train_alone(context.shared, context.train, selection, c.final_steps, c.batch, seed)
    test_rows = minibatches(np.random.default_rng(c.seed), len(context.test.labels), c.batch)
    record = {
        "architecture": found.architecture,
        "candidates": found.candidates,
        "cost": {"steps": round(found.cost.steps), "macs": round(found.cost.macs)},
        "errors": {
            "search_error": None if found.error is None else percent(found.error),
            "val_error": percent(
                context.shared.error(params, context.held, selection, context.rows)
            ),
            "test_error": percent(error(params, context.test, selection, test_rows)),
        },
        "final_macs": context.macs(selection),
    }
    if found.params is not None:
        shared = [
            percent(
                context.shared.error(found.params, context.held, choice(architecture), context.rows)
            )
            for architecture in context.sample
        ]
        record["rank"] = _rank(shared, [recorded_error(records, a) for a in context.sample])
    return record


def _rank(shared: Sequence[float], alone: Sequence[float]) -> dict[str, Any]:
    """Computes Kendall's τ between errors with shared weights and alone, over the whole sample."""
    found = correlation(shared, alone, statistic=lambda a, b: stats.kendalltau(a, b).statistic)
    # Undefined if all errors with shared weights are equal; JSON has no NaN.
    shown = [round(x, 4) if math.isfinite(x) else None for x in found]
    names = ("tau", "low", "high")
    return dict(zip(names, shown, strict=True)) | {"shared": shared, "alone": alone}


_PARTS = {"alone": _alone, "method": _method}
