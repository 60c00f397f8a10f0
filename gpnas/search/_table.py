"""Tabular benchmarks: spaces with the metrics of all architectures in a CSV file."""

import csv
import gzip
import hashlib
import io
import json
import math
import pathlib
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gpnas.errors import UserError, explained
from gpnas.search._history import Trial
from gpnas.search._space import Space, choices, only

_FOLDER = pathlib.Path(__file__).parent / "tables"
# Name: number of leading columns that are choices.
TABLES = {"nas_bench_201": 6, "nas_bench_macro": 8}


class BenchmarkTable(NamedTuple):
    """A space and the metrics of every architecture in it.

    Attributes:
      space: Space of independent choices.
      rows: Row index of each architecture.
      metrics: By name, (architectures,) float64.
    """

    space: Space
    rows: Mapping[tuple[str, ...], int]
    metrics: Mapping[str, np.ndarray]

    def look_up(self, architecture: tuple[str, ...]) -> dict[str, float]:
        """Returns all metrics of an architecture.

        Raises:
          UserError: If the architecture is not in the table.
        """
        self.space.check(architecture)
        row = self.rows[architecture]
        return {name: float(column[row]) for name, column in self.metrics.items()}

    def evaluate(self, trial: Trial) -> dict[str, float]:
        """Returns all metrics of a trial's architecture; its budget is ignored."""
        return self.look_up(trial.architecture)


def load_table(name: str, columns: int = 0) -> BenchmarkTable:
    """Reads a table with a header and one row per architecture, its choices first.

    Args:
      name: "nas_bench_201", "nas_bench_macro", or the path of a CSV file, which may be gzipped.
      columns: Number of leading columns that are choices, of a CSV file; 0 for the other tables.

    Returns:
      The table; metrics are numbers, lower is better.

    Raises:
      UserError: If the file does not exist or is no such table.
    """
    if name in TABLES and columns:
        raise UserError("columns", columns, f"0: the table {name} has {TABLES[name]}")
    path = _FOLDER / f"{name}.csv.gz" if name in TABLES else pathlib.Path(name)
    broken = (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error)
    with explained("space", name, f"{', '.join(TABLES)}, or a CSV file", *broken):
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        lines = _lines(raw.decode("utf-8-sig"))
    return _table(lines, TABLES.get(name, columns), name)


def digests(table: BenchmarkTable) -> dict[str, str]:
    """Returns the SHA-256 of each metric's column by name, and of the architectures as ""."""
    architectures = json.dumps(list(table.rows)).encode()
    columns = {name: column.tobytes() for name, column in table.metrics.items()}
    contents = {"": architectures} | columns
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def _lines(text: str) -> list[tuple[int, list[str]]]:
    """Returns `(line number, cells)` of each line that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    found, start = [], 1
    try:
        for cells in reader:
            if any(cells):
                found.append((start, [cell.strip() for cell in cells]))
            start = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"line {start}: {error}") from error
    return found


def _table(lines: list[tuple[int, list[str]]], columns: int, name: str) -> BenchmarkTable:
    if len(lines) < 2:
        raise UserError("space", name, "a table with a header and at least one row")
    (_, header), body = lines[0], lines[1:]
    if len(header) < 2:
        raise UserError("space", name, "two or more columns, separated by commas")
    if not 0 < columns < len(header):
        raise UserError("columns", columns, f"1 to {len(header) - 1} leading columns of choices")
    _check_cells(lines, columns, name)
    metrics = {
        title: np.array([_number(cells[at], title, f"{name}, line {n}") for n, cells in body])
        for at, title in enumerate(header[columns:], start=columns)
    }
    rows: dict[tuple[str, ...], int] = {}
    for row, (number, cells) in enumerate(body):
        same = rows.setdefault(tuple(cells[:columns]), row)
        if same != row:
            allowed = f"each architecture in one row; lines {body[same][0]} and {number} have one"
            raise UserError("space", name, allowed)
    options = [list(dict.fromkeys(column)) for column in zip(*rows, strict=True)]
    space = choices(options)
    if len(rows) < math.prod(map(len, options)):
        space = only(space, list(rows))
    return BenchmarkTable(space, rows, metrics)


def _check_cells(lines: list[tuple[int, list[str]]], columns: int, name: str) -> None:
    """Checks that columns have distinct names and that no row has a gap."""
    first, header = lines[0]
    for at, title in enumerate(header, start=1):
        if not title or title in header[: at - 1]:
            where = f"{name}, line {first}, column {at}"
            raise UserError(where, title, "a name that no other column has")
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            allowed = f"{len(header)} fields, as the header has"
            raise UserError(f"{name}, line {number}", len(cells), allowed)
        for title, cell in zip(header[:columns], cells, strict=False):
            if not cell:
                raise UserError(f"{name}, line {number}, column {title}", cell, "a choice")


def _number(text: str, title: str, where: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise UserError(f"{where}, column {title}", text, "a finite number")
    return found
