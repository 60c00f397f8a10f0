"""Reduces committed records to what tables and figures use.

    python -m experiments.studies.slim results

A curve keeps at most 60 points: each is the last of those merged into it, and its grown and pruned
weights are their sum. Only a curve's last point keeps its layers. The field `evaluations` had the
name `looks` in older records. All other fields stay. A second run changes nothing.
"""

import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpnas.records import sealed, write_bytes

MAX_POINTS = 60


def slim(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record with a thinned curve and current names, resealed if it was sealed."""
    found = {
        "evaluations" if name == "looks" else name: value
        for name, value in record.items()
        if name != "digest"
    }
    if found.get("curve"):
        found["curve"] = thin(found["curve"])
    return sealed(found) if "digest" in record else found


def thin(curve: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns a curve of at most `MAX_POINTS` points; only the last one keeps layers."""
    kept = np.linspace(0, len(curve) - 1, min(len(curve), MAX_POINTS)).round().astype(int)
    points, begin = [], 0
    for index in kept:
        merged = curve[begin : index + 1]
        point = {name: value for name, value in merged[-1].items() if name != "layers"}
        for name in ("grown", "pruned"):
            if name in point:
                point[name] = sum(one[name] for one in merged)
        points.append(point)
        begin = index + 1
    if "layers" in curve[-1]:
        points[-1]["layers"] = curve[-1]["layers"]
    return points


def main(folder: pathlib.Path) -> None:
    """Reduces every file of records below a folder; other lines are unchanged."""
    for path in sorted(folder.rglob("*.jsonl")):
        before = path.read_text()
        lines = []
        for line in before.splitlines():
            record = json.loads(line)
            found = slim(record)
            lines.append(line if found == record else json.dumps(found))
        after = "\n".join(lines) + "\n"
        if after != before:
            write_bytes(path, after.encode())
            print(f"{path}: {len(before):,} → {len(after):,} bytes")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
