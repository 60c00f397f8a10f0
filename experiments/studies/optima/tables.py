"""Number of evaluations that strategies need to find a table's optimum, from benchmark lines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.special import stdtrit

from experiments.studies.verdicts import target_left_open
from gpnas.report import Cell, Column, Table, formatting

# Name of a measurement: table, strategy.
NAMES = {
    "nas_bench_201_evolution": ("NAS-Bench-201, CIFAR-10", "evolution"),
    "nas_bench_201_local": ("NAS-Bench-201, CIFAR-10", "local search"),
    "nas_bench_201_lanas": ("NAS-Bench-201, CIFAR-10", "LaNAS"),
    "nas_bench_201_lanas_released": ("NAS-Bench-201, CIFAR-10", "LaNAS released"),
    "nas_bench_201_predictor": ("NAS-Bench-201, CIFAR-10", "predictor"),
    "nas_bench_201_cifar100_evolution": ("NAS-Bench-201, CIFAR-100", "evolution"),
    "nas_bench_201_cifar100_local": ("NAS-Bench-201, CIFAR-100", "local search"),
    "nas_bench_201_cifar100_lanas": ("NAS-Bench-201, CIFAR-100", "LaNAS"),
    "nas_bench_201_cifar100_lanas_released": ("NAS-Bench-201, CIFAR-100", "LaNAS released"),
    "nas_bench_201_cifar100_predictor": ("NAS-Bench-201, CIFAR-100", "predictor"),
    "nas_bench_macro_evolution": ("NAS-Bench-Macro", "evolution"),
    "nas_bench_macro_local": ("NAS-Bench-Macro", "local search"),
    "nas_bench_macro_lanas": ("NAS-Bench-Macro", "LaNAS"),
}


def optimum_table(lines: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulates the newest line of each measurement that names its seeds.

    Args:
      lines: Lines of results/benchmark.jsonl, in order.
    """
    newest = {
        line["name"]: line
        for line in lines
        if formatting.number(line, "details", "first_seed") is not None and not line["fast"]
    }
    titles = ("mean", "asked", "reached", "median", "largest", "given up at", "given up", "seeds")
    columns = [Column(title, numeric=False) for title in ("table", "strategy")]
    columns += [Column(title, numeric=title != "reached") for title in titles]
    rows = [
        [Cell(text) for text in (*names, *_figures(newest[name]))]
        for name, names in NAMES.items()
        if name in newest
    ]
    note = (
        "Distinct architectures until the lowest test error of the table (oracle: searches read"
        " the test error), mean ± half the 95 % interval over seeds. The seeds were not used for"
        " tuning. An unsuccessful search counts with all its evaluations. Reached: yes or no if"
        " the interval is on one side of the limit, otherwise not shown."
    )
    return Table("Evaluations to the optimum (oracle)", columns, rows, [note])


def _figures(line: Mapping[str, Any]) -> list[str]:
    details = line["details"]
    first, seeds = details["first_seed"], details["seeds"]
    limit = float(line["target"].removeprefix("≤ "))
    half = float(stdtrit(seeds - 1, 0.975)) * details["deviation"] / math.sqrt(seeds)
    gap = float(line["value"]) - limit
    clear = "yes" if gap < 0 else "no"
    return [
        f"{line['value']:.0f} ± {half:.0f}",
        line["target"],
        clear if abs(gap) > half else target_left_open(seeds, gap, half, ".0f"),
        f"{details['median']:.0f}",
        f"{details['largest']:,}",
        f"{details['cap']:,}",
        str(len(details["stuck"])),
        f"{first} to {first + seeds - 1}",
    ]
