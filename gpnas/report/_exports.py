"""The table of an export: compact and dense files."""

from collections.abc import Mapping
from typing import Any

from gpnas.report import stats
from gpnas.report._metric import ERROR, TaskMetric, metric_of
from gpnas.report._table import Cell, Column, Table

Record = Mapping[str, Any]


def export_table(report: Record) -> Table:
    """Returns one row per file of an export, compact and dense.

    Args:
      report: Content of export.json.
    """
    metric = metric_of(report) or ERROR
    latencies = report["files"][0].get("latency", ())
    columns = [Column(title, numeric=False) for title in ("file", "network")]
    columns += [Column(title) for title in ("kB", "max difference", f"test {metric.label}")]
    columns += [Column(f"ms, batch {r['batch']}, threads {r['threads']}") for r in latencies]
    ordered = sorted(report["files"], key=lambda row: row["format"])
    rows = [[Cell(text) for text in _file_texts(row, metric)] for row in ordered]
    params, macs = (
        " of ".join(f"{report['networks'][name][field]:,}" for name in ("compact", "dense"))
        for field in ("params", "macs")
    )
    note = (
        f"Compact: {params} parameters, {macs} MACs. Difference: largest difference of logits"
        " from JAX."
    )
    timed = " Milliseconds: shortest call (in parentheses: speed-up over the dense file)."
    notes = [note + (timed if latencies else "")]
    compact, dense = (report["networks"][name]["params"] for name in ("compact", "dense"))
    if compact == dense:
        notes.append(
            "No unit is inactive, so nothing could be removed: the masked weights stay in the files"
            " as zeros. Methods that prune whole units make smaller networks, for example"
            " configs/development_units.py, configs/l0.py."
        )
    caption = f"{report['arm']} on {report['dataset']}, {report['network']} network"
    return Table(caption, columns, rows, notes)


def _file_texts(row: Record, metric: TaskMetric) -> list[str]:
    return [
        row["file"],
        row["network"],
        f"{row['bytes'] / 1000:.1f}",
        f"{row['max_difference']:.0e}",
        metric.interval(stats.estimate([row[f"test_{metric.name}"]])),
        *(
            f"{one['ms']:.3f} ({one['speedup']:.2f})" if "speedup" in one else f"{one['ms']:.3f}"
            for one in row.get("latency", ())
        ),
    ]
