"""Sparse and dense ways compute the same; kernels have as many zeros as was asked for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.studies.deploy import sparse

ROOT = Path(__file__).parents[3]
SHAPES = ((20, 12), (12, 6), (6, 3))


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("way", sparse.WAYS)
def test_all_ways_agree(way, batch):
    kernels = sparse.pruned(SHAPES, 0.3, seed=0)
    images = np.random.default_rng(1).normal(size=(batch, 20)).astype(np.float32)
    hidden = images
    for kernel in kernels[:-1]:
        hidden = np.maximum(hidden.astype(np.float64) @ kernel, 0)
    found = np.asarray(sparse.WAYS[way](kernels)(images))
    np.testing.assert_allclose(found, hidden @ kernels[-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("density", [1.0, 0.5, 0.01])
def test_density(density):
    counts = [np.count_nonzero(k) for k in sparse.pruned(SHAPES, density, seed=0)]
    assert counts == [max(1, round(density * a * b)) for a, b in SHAPES]


@pytest.mark.exhaustive
def test_a_request():
    request = {"shapes": SHAPES, "densities": [0.5], "batches": [1, 2], "rounds": 2, "seed": 0}
    done = subprocess.run(
        [sys.executable, "-m", "experiments.studies.deploy.sparse"],
        input=json.dumps(request),
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    rows = json.loads(done.stdout)
    assert [(row["density"], row["batch"]) for row in rows] == [(0.5, 1), (0.5, 2)]
    assert all(set(row["ms"]) == set(sparse.WAYS) for row in rows)
    assert all(min(row["ms"].values()) > 0 and row["max_difference"] < 1e-4 for row in rows)
