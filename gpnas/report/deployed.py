"""What an export came to, as a table."""

from collections.abc import Mapping
from typing import Any

from gpnas.report.table import Cell, Column, Table


def export_table(report: Mapping[str, Any]) -> Table:
    """One row a file, compact beside dense.

    Args:
      report: As export.json has it.
    """
    latencies = report["files"][0].get("latency", ())
    settings = [(one["batch"], one["threads"]) for one in latencies]
    columns = [Column(title, numeric=False) for title in ("file", "network")]
    columns += [Column(title) for title in ("kB", "max |difference|", "test error %")]
    columns += [Column(f"ms, batch {b}, {t} thr. (speed-up)") for b, t in settings]
    ordered = sorted(report["files"], key=lambda row: row["format"])
    rows = [[Cell(text) for text in _texts(row)] for row in ordered]
    return Table(f"{report['arm']}, {report['network']} network", columns, rows)


def _texts(row: Mapping[str, Any]) -> list[str]:
    return [
        row["file"],
        row["network"],
        f"{row['bytes'] / 1000:.1f}",
        f"{row['max_difference']:.1e}",
        f"{row['test_error']:.2f}",
        *(f"{one['ms']:.3f} ({one['speedup']:.2f})" for one in row.get("latency", ())),
    ]
