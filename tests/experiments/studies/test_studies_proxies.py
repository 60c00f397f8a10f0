"""The study of proxies: what it writes, that it goes on, and what it makes of scores."""

import json

import numpy as np
import pytest
from scipy import stats

from experiments.studies.proxies import config as proxies
from experiments.studies.proxies.run import (
    advantages,
    correlation,
    correlations,
    matching,
    score_sample,
)
from gpnas.errors import UserError
from gpnas.records import read_lines
from gpnas.search import load_table


def small(**changes):
    config = proxies.get_config()
    config.data.name = "digits"
    config.update({"channels": 2, "cells": 1, "batch": 8, "proxies": ("nwot",)} | changes)
    return config


@pytest.mark.exhaustive
def test_a_study_writes_each_architecture_once_and_goes_on(tmp_path):
    path = score_sample(small(architectures=20), str(tmp_path))
    first = read_lines(path)
    assert score_sample(small(architectures=23), str(tmp_path)) == path
    records = read_lines(path)
    assert records[:20] == first and len(records) == 23
    assert len({tuple(record["architecture"]) for record in records}) == 23
    assert not matching(records, small(seed=1)) and matching(records, small()) == records
    for record in records:
        assert set(record["scores"]) == {"nwot"} and record["wall_s"] > 0
    found = correlations(records, "cifar10_test_200", resamples=50)
    assert set(found) == {"nwot", "params (table)", "macs (table)"}
    json.loads(path.read_text().splitlines()[0], parse_constant=pytest.fail)  # strict JSON


def test_scores_that_are_not_finite_are_the_lowest():
    table = load_table("nas_bench_201")
    rows = sorted(table.rows, key=lambda a: -table.look_up(a)["cifar10_test_200"])[::700]
    scores = [None, *range(1, len(rows))]  # the worst network first
    records = [
        {"architecture": list(architecture), "scores": {"mine": score}}
        for architecture, score in zip(rows, scores, strict=True)
    ]
    found = correlations(records, "cifar10_test_200", resamples=50)["mine"]
    assert found.rho == pytest.approx(1) and found.low > 0.99


@pytest.mark.slow
def test_an_advantage_is_the_difference_of_two_correlations():
    table, rng = load_table("nas_bench_201"), np.random.default_rng(0)
    rows = sorted(table.rows)[::80]
    errors = np.array([table.look_up(a)["cifar10_test_200"] for a in rows])
    order = -stats.rankdata(errors) / len(errors)
    near, far = (order + width * rng.normal(size=len(rows)) for width in (0.1, 0.5))
    records = [
        {"architecture": list(a), "scores": {"near": n, "far": f}}
        for a, n, f in zip(rows, near, far, strict=True)
    ]
    alone = correlations(records, "cifar10_test_200", resamples=50)
    found = advantages(records, "cifar10_test_200", "far", resamples=300)
    assert set(found) == {"near", "params (table)", "macs (table)"}
    for name, one in found.items():
        assert one.rho == pytest.approx(alone[name].rho - alone["far"].rho)
        assert one.low < one.rho < one.high
    assert found["near"].low > 0
    assert found["params (table)"] == found["macs (table)"]


def test_the_interval_is_about_as_wide_as_theory_says():
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    y = x + rng.normal(size=300)
    found = correlation(x, y, resamples=500)
    assert found.rho == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.low < found.rho < found.high
    # Fisher's z, with the variance for ranks of Bonett and Wright 2000.
    half = 1.96 * np.sqrt((1 + found.rho**2 / 2) / (300 - 3)) * (1 - found.rho**2)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value"),
    [("architectures", 15626), ("architectures", 1), ("proxies", ("magic",)),
     ("proxies", ("params",)), ("batch", 1), ("against", "fame")],
)  # fmt: skip
def test_settings_that_cannot_be(tmp_path, field, value):
    with pytest.raises(UserError, match=f"{field}: got"):
        score_sample(small(**{field: value}), str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
