"""Evaluations to the optimum: seeds that chose nothing, and what is stuck counts as the cap."""

import numpy as np

from experiments.benchmarks import Options, searches
from gpnas.search import BenchmarkTable, choices, search
from gpnas.search.build import build_strategy

OPTIONS = [[str(i) for i in range(6)]] * 2


def small_table():
    space = choices(OPTIONS)
    rows = {architecture: row for row, architecture in enumerate(space.enumerate_all())}
    return BenchmarkTable(space, rows, {"cifar10_test": np.arange(len(rows), dtype=float)})


def test_a_search_that_is_given_up_counts_as_the_cap(monkeypatch, tmp_path):
    table = small_table()
    monkeypatch.setattr(searches, "load_table", lambda name: table)
    found = searches.evaluations_to_optimum(
        Options({}, tmp_path), "nas_bench_macro", "random", target=1.0
    )
    propose = build_strategy(table.space, ("cifar10_test",), {"name": "random"})
    needed = []
    for seed in range(1000, 1100):
        trials = search(propose, table.evaluate, len(table.rows), seed)
        needed.append(1 + next(i for i, t in enumerate(trials) if t.metrics["cifar10_test"] == 0))
    assert found.value == np.mean(np.minimum(needed, 12)) and not found.holds
    assert found.details["stuck"] == [1000 + i for i, n in enumerate(needed) if n > 12]
    assert (found.details["first_seed"], found.details["seeds"], found.details["cap"]) == (
        1000, 100, 12,
    )  # fmt: skip
