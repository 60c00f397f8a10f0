"""Searches on tables: evaluations to the optimum, time of proposals, time and size of a table."""

import statistics
import time
import tracemalloc
from typing import Any

from gpnas.search import Trial, load_table, search
from gpnas.search.build import build_strategy

from .measure import Measurement, Options

# Table and column: the test error after all epochs; a search that uses it is an oracle search.
_ORACLE = {
    "nas_bench_201": ("nas_bench_201", "cifar10_test_200"),
    "nas_bench_201_cifar100": ("nas_bench_201", "cifar100_test_200"),
    "nas_bench_macro": ("nas_bench_macro", "cifar10_test"),
}
_FRESH = range(1000, 1100)  # settings were tuned on seeds below 1000


def evaluations_to_optimum(
    options: Options, oracle: str, strategy: str, target: float, **settings: Any
) -> Measurement:
    """Distinct architectures evaluated until the table's best one, mean of 100 seeds (oracle).

    No setting was tuned on these seeds. A search stops after a third of the table, the expected
    number for random search with two optima, and then counts as that number.

    Args:
      options: Settings of the measurement.
      oracle, strategy: Table and column, and name of the strategy.
      target: Upper limit of the mean.
      **settings: Settings of the strategy.
    """
    seeds = _FRESH[:2] if options.fast else _FRESH
    table, metric = _ORACLE[oracle]
    found = load_table(table)
    cap = len(found.rows) // 3
    lowest = found.metrics[metric].min()
    propose = build_strategy(found.space, (metric,), {"name": strategy, **settings})

    def at_optimum(trial: Trial) -> bool:
        return trial.metrics is not None and trial.metrics[metric] <= lowest

    needed, stuck = [], []
    for seed in seeds:
        trials = search(propose, found.evaluate, cap, seed, stop=at_optimum)
        needed.append(len({trial.architecture for trial in trials}))
        if not at_optimum(trials[-1]):
            stuck.append(seed)
    mean = statistics.fmean(needed)
    return Measurement(
        "_".join([oracle, strategy, *map(str, settings.values())]), mean,
        "evaluations to the optimum (oracle), mean over seeds",
        f"≤ {target:g}", mean <= target,
        {"median": statistics.median(needed), "largest": max(needed), "seeds": len(seeds),
         "first_seed": seeds[0], "cap": cap, "stuck": stuck,
         "over_1000": sum(n > 1000 for n in needed), "deviation": statistics.stdev(needed),
         "metric": metric, "settings": settings},
    )  # fmt: skip


def proposals(options: Options, strategy: str, target: float) -> Measurement:
    """Seconds for 1,000 proposals on NAS-Bench-201, with a growing history."""
    count = 30 if options.fast else 1000
    name, metric = _ORACLE["nas_bench_201"]
    table = load_table(name)
    taken = []
    for seed in range(1 if options.fast else 3):
        propose = build_strategy(table.space, (metric,), {"name": strategy})
        begun = time.perf_counter()
        trials = search(
            propose, table.evaluate, len(table.rows), seed, stop=lambda t: t.number == count - 1
        )
        taken.append(time.perf_counter() - begun)
        assert len(trials) == count
    seconds = statistics.median(taken)
    return Measurement(
        f"proposals_{strategy}", seconds, "s for 1,000 proposals", f"≤ {target:g}",
        seconds <= target, {"seconds": [round(s, 4) for s in taken], "proposals": count},
    )  # fmt: skip


def loading(options: Options) -> Measurement:
    """Seconds to load NAS-Bench-201's table, and the peak memory of loading."""
    del options
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        load_table("nas_bench_201")
        taken.append(time.perf_counter() - begun)
    tracemalloc.start()
    kept = load_table("nas_bench_201")
    megabytes = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    seconds = statistics.median(taken)
    return Measurement(
        "table_loading", seconds, "s", "≤ 0.3 s and ≤ 50 MB",
        seconds <= 0.3 and megabytes <= 50,
        {"megabytes": round(megabytes, 1), "architectures": len(kept.rows)},
    )  # fmt: skip
