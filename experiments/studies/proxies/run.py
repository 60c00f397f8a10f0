"""Scores of zero-cost proxies on NAS-Bench-201, and their rank correlations with accuracy."""

import functools
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from scipy import stats

from experiments.studies import study
from experiments.studies.proxies.config import get_config
from experiments.studies.proxies.scores import PROXIES, measure
from experiments.studies.searches import check_metric
from experiments.studies.supernet201 import Supernet201, choice
from gpnas import plugins
from gpnas.data import Dataset, standardize
from gpnas.errors import UserError
from gpnas.provenance import provenance
from gpnas.records import append_line, read_lines, records_path
from gpnas.search import BenchmarkTable, load_table
from gpnas.sections import check_section
from gpnas.train import load_data

SPACE = "nas_bench_201"
_FROM_THE_TABLE = ("params", "macs")  # not available from a supernet
# Settings that comparable records share.
_SAME = ("seed", "channels", "cells", "batch", "proxies", "data.name", "data.image_size",
         "data.validation", "data.seed")  # fmt: skip


class Correlation(NamedTuple):
    """Spearman's ρ, or another rank correlation, and its 95 % interval."""

    rho: float
    low: float
    high: float


def score_sample(config: ConfigDict, results: str | pathlib.Path) -> pathlib.Path:
    """Scores the missing architectures; returns the path of their records.

    All have the same initial weights and the same batch; one program is compiled. A larger sample
    with the same seed begins with the smaller one.

    Args:
      config: Config from config.py of the study.
      results: One record per architecture is appended to results/STUDY/records.jsonl.

    Raises:
      UserError: If any setting is invalid; nothing has been scored then.
    """
    table = load_table(SPACE)
    check(config, table)
    path = records_path(results, config.study)
    done = {tuple(record["architecture"]) for record in matching(read_lines(path), config)}
    order = np.random.default_rng(config.seed).permutation(len(table.rows))
    everything = list(table.rows)
    asked = [everything[row] for row in order[: config.architectures]]
    missing = [architecture for architecture in asked if architecture not in done]
    if not missing:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    data = load_data(config)
    score = _scorer(config, data)
    score(missing[0])  # compiles
    shared = _describe(config, data)
    for architecture in missing:
        begun = time.perf_counter()
        found = score(architecture)
        wall = round(time.perf_counter() - begun, 4)
        record = {
            "architecture": architecture,
            "scores": {name: v if math.isfinite(v) else None for name, v in found.items()},
            "wall_s": wall,
        }
        append_line(path, shared | record)
    return path


def check(config: ConfigDict, table: BenchmarkTable) -> None:
    """Checks the settings.

    Raises:
      UserError: If any setting is invalid.
    """
    check_section(config, get_config(), source="experiments/studies/proxies/config.py")
    most = len(table.rows)
    limits = {"architectures": (20, most), "channels": (1, None), "cells": (1, None),
              "batch": (2, None), "seed": (0, None)}  # fmt: skip
    for field, (least, largest) in limits.items():
        if config[field] < least or largest and config[field] > largest:
            upper = f" to {largest}" if largest else " or more"
            raise UserError(field, config[field], f"{least}{upper}")
    for name in config.proxies:
        plugins.find("proxies", name, PROXIES)
        if name in _FROM_THE_TABLE:
            raise UserError("proxies", name, "others: the table has its own")
    check_metric(table, "against", config.against)


def _scorer(config: ConfigDict, data: Dataset) -> Any:
    """Makes `architecture → {proxy: score}`."""
    supernet = Supernet201(
        data.num_classes, channels=config.channels, cells=config.cells, conv="im2col"
    )
    rng = np.random.default_rng(config.seed)
    rows = np.sort(rng.choice(len(data.train), config.batch, replace=False))
    images = standardize(jnp.asarray(data.train.inputs[rows]), data)
    labels = jnp.asarray(data.train.targets[rows])
    start = choice(("skip",) * 6)
    params = jax.jit(supernet.init)(jax.random.key(config.seed), images[:1], start)["params"]

    @jax.jit
    def run(params: Any, images: jax.Array, labels: jax.Array, selection: jax.Array) -> Any:
        def apply(params: Any, images: jax.Array) -> jax.Array:
            return jnp.asarray(supernet.apply({"params": params}, images, selection, train=True))

        return measure(apply, config.proxies, params, images, labels)

    def score(architecture: Sequence[str]) -> dict[str, float]:
        found = jax.device_get(run(params, images, labels, choice(architecture)))
        return {name: float(found[name]) for name in config.proxies}

    return score


def _describe(config: ConfigDict, data: Dataset) -> dict[str, Any]:
    return {
        "study": config.study,
        "config": config.to_dict(),
        "seed": config.seed,
        **provenance(),
        "dataset": data.name,
        "dataset_sha256": data.sha256,
    }


matching = functools.partial(study.matching, same=_SAME)


def correlations(
    records: Sequence[Mapping[str, Any]], against: str, resamples: int = 2000
) -> dict[str, Correlation]:
    """Computes Spearman's ρ with accuracy, of each proxy and of the table's params and MACs.

    Args:
      records: Records of `score_sample` with the same settings.
      against: Metric of the table, an error; the negative accuracy.
      resamples: Number of resamples of architectures, for the percentile bootstrap.

    Returns:
      Correlations by proxy; a score that is not finite counts as the lowest.
    """
    scores, accuracy = _series(records, against)
    return {name: correlation(found, accuracy, resamples) for name, found in scores.items()}


def advantages(
    records: Sequence[Mapping[str, Any]], against: str, other: str, resamples: int = 2000
) -> dict[str, Correlation]:
    """Computes how much higher each proxy's ρ is than another's, on the same architectures.

    Args:
      records, against, resamples: As for `correlations`.
      other: Name of the reference proxy in `correlations`.

    Returns:
      Differences by name, without `other`, with percentile bootstrap intervals.
    """
    scores, accuracy = _series(records, against)
    count = len(accuracy)
    drawn = np.random.default_rng(0).integers(count, size=(resamples, count))
    rows = np.concatenate([np.arange(count)[None], drawn])  # the first row is the sample itself

    def rho(series: Sequence[float]) -> np.ndarray:
        return spearman(np.asarray(series)[rows], np.asarray(accuracy)[rows])

    base, found = rho(scores[other]), {}
    for name in scores.keys() - {other}:
        difference = rho(scores[name]) - base
        low, high = np.quantile(difference[1:], (0.025, 0.975))
        found[name] = Correlation(float(difference[0]), float(low), float(high))
    return found


def _series(
    records: Sequence[Mapping[str, Any]], against: str
) -> tuple[dict[str, list[float]], list[float]]:
    """Returns scores by name, and accuracies."""
    table = load_table(SPACE)
    rows = [table.look_up(tuple(record["architecture"])) for record in records]
    scores = {
        name: [-np.inf if r["scores"][name] is None else r["scores"][name] for r in records]
        for name in records[0]["scores"]
    }
    scores |= {f"{name} (table)": [row[name] for row in rows] for name in _FROM_THE_TABLE}
    return scores, [-row[against] for row in rows]


def spearman(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    """Computes Spearman's ρ along an axis of arrays of equal shape, without p-values."""
    ranks = [stats.rankdata(series, axis=axis) for series in (x, y)]
    a, b = (one - one.mean(axis, keepdims=True) for one in ranks)
    return (a * b).sum(axis) / np.sqrt((a**2).sum(axis) * (b**2).sum(axis))


def correlation(
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    resamples: int = 2000,
    statistic: Callable[..., Any] = spearman,
) -> Correlation:
    """Computes the rank correlation of two series, with a percentile bootstrap of the pairs.

    Args:
      x, y: Series of equal length.
      resamples: Number of resamples of pairs.
      statistic: `(x, y) → coefficient`; with an argument `axis`, of all resamples at once.
    """
    ranks = stats.rankdata(x), stats.rankdata(y)
    interval = stats.bootstrap(
        ranks,
        statistic,
        paired=True,
        n_resamples=resamples,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return Correlation(float(statistic(*ranks)), float(interval.low), float(interval.high))
