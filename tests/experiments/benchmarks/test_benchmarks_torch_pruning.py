"""Units beside Torch-Pruning: what is removed, and the tables, which are those of the records."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies.study import fill
from experiments.studies.torch_pruning.run import (
    SUBJECTS,
    Subject,
    compare,
    smaller_half,
)
from experiments.studies.torch_pruning.tables import pruning_tables
from gpnas import units
from gpnas.models import LeNet300
from gpnas.records import read_lines

ROOT = pathlib.Path(__file__).parents[3]


def test_the_half_with_the_smaller_kernels_goes():
    module = LeNet300(widths=(4, 4), num_classes=2)
    images = jnp.zeros((1, 2, 2, 1))
    variables = jax.tree.map(np.ones_like, module.init(jax.random.key(0), images))
    kernels = {name: layer["kernel"] for name, layer in variables["params"].items()}
    kernels["Dense_0"] *= np.array([3, 1, 2, 4])
    kernels["Dense_1"] *= np.array([1, 2, 2, 1]) * np.array([[1], [5], [1], [1]])
    variables["params"] |= {
        name: {"kernel": kernel, "bias": 100 * np.arange(float(kernel.shape[1]))}
        for name, kernel in kernels.items()
    }
    groups = units.discover(module.apply, variables, images)
    first, second = smaller_half(groups, variables).values()
    assert first.tolist() == [False, True, False, True]  # what reads the second one is large
    assert second.tolist() == [False, True, True, False]


def test_the_page_has_the_tables_of_the_records():
    records = read_lines(ROOT / "results" / "torch_pruning" / "records.jsonl")
    page = (ROOT / "docs" / "units.md").read_text()
    assert fill(page, "torch_pruning", pruning_tables(records)) == page
    assert {record["model"] for record in records} == {subject.name for subject in SUBJECTS}
    for record in records:
        assert record["groups"]["gpnas"] == record["groups"]["torch_pruning"]
        assert record["params"]["gpnas"] == record["params"]["torch_pruning"]
        assert record["largest_difference"] < 1e-5


def test_both_prune_the_same_channels():
    pytest.importorskip("torch_pruning")
    record = compare(Subject(1, 4), rounds=1, compiled=False)
    assert record["groups"] == {"gpnas": 6, "torch_pruning": 6}
    assert record["params"]["gpnas"] == record["params"]["torch_pruning"]
    assert record["largest_difference"] < 1e-5
