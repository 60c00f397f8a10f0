"""The tables of the study."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.studies.torch_pruning.run import THREADS
from gpnas.report import Cell, Column, Table

KINDS = ("gpnas", "torch", "torch.compile")


def pruning_tables(records: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Tabulates the newest record of each network: groups and pruning, and latency."""
    newest = {record["model"]: record for record in records}
    columns = [Column("", numeric=False), *(Column(title) for title in (
        "groups", "find them, s", "prune, s", "parameters left", "MACs left", "difference",
    ))]  # fmt: skip
    rows = [
        [
            Cell(model),
            Cell(_pair(r["groups"], "{}")),
            Cell(_pair(r["groups_s"], "{:.3f}")),
            Cell(_pair(r["prune_s"], "{:.3f}")),
            Cell(_pair(r["params_left"], "{:.4f}")),
            Cell(_pair(r["macs_left"], "{:.4f}")),
            Cell(f"{r['largest_difference']:.0e}"),
        ]
        for model, r in newest.items()
    ]
    note = (
        "Each: gpnas / Torch-Pruning. Half of the channels of every group are pruned, by the L2"
        " norm of all the group's kernels. MACs are each library's own count: Torch-Pruning's"
        " includes padding."
        " Difference: largest difference between the pruned networks' outputs, divided by the"
        " largest output."
    )
    found = Table("Groups, and pruning by half", columns, rows, [note])
    timed = {
        name for r in newest.values() for t in r["latency"].values() for name in t["median_ms"]
    }
    kinds = [kind for kind in KINDS if f"{kind} dense" in timed]
    columns = [
        Column("", numeric=False),
        Column("batch"),
        *(Column(f"{kind}, ms") for kind in kinds),
    ]
    rows = [
        [Cell(model), Cell(batch), *(Cell(_gain(times["minimum_ms"], kind)) for kind in kinds)]
        for model, r in newest.items()
        for batch, times in r["latency"].items()
    ]
    rounds = min((t["rounds"] for r in newest.values() for t in r["latency"].values()), default=0)
    note = (
        f"Dense → pruned (ratio), the fastest of {rounds} calls in turns, {THREADS} threads;"
        " inference."
    )
    return [found, Table("Latency", columns, rows, [note])]


def _pair(of: Mapping[str, Any], form: str) -> str:
    return " / ".join(form.format(of[library]) for library in ("gpnas", "torch_pruning"))


def _gain(times: Mapping[str, float], kind: str) -> str:
    if f"{kind} dense" not in times:
        return "–"
    dense, pruned = times[f"{kind} dense"], times[f"{kind} pruned"]
    return f"{_rounded(dense)} → {_rounded(pruned)} ({dense / pruned:.1f}×)"


def _rounded(ms: float) -> str:
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"
