"""Spaces whose every architecture was evaluated before: a CSV file of choices and metrics."""

import csv
import gzip
import io
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gpnas.errors import UserError
from gpnas.search.history import Trial
from gpnas.search.space import Space, choices, only

_FOLDER = pathlib.Path(__file__).parent / "tables"
# Name: leading columns that are choices.
TABLES = {"nas_bench_201": 6, "nas_bench_macro": 8}


class Table(NamedTuple):
    """A space and the metrics of every architecture in it.

    Attributes:
      space: Of independent choices.
      rows: Row of each architecture.
      metrics: By name, (architectures,) float64.
    """

    space: Space
    rows: Mapping[tuple[str, ...], int]
    metrics: Mapping[str, np.ndarray]

    def look_up(self, architecture: tuple[str, ...]) -> dict[str, float]:
        """All metrics of an architecture.

        Raises:
          UserError: If it is not in the table.
        """
        self.space.check(architecture)
        row = self.rows[architecture]
        return {name: float(column[row]) for name, column in self.metrics.items()}

    def evaluate(self, trial: Trial) -> dict[str, float]:
        """All metrics of a trial's architecture; its budget makes no difference."""
        return self.look_up(trial.architecture)


def load_table(name: str, columns: int = 0) -> Table:
    """Reads a table: a header, then one row an architecture, its choices first.

    Args:
      name: "nas_bench_201", "nas_bench_macro", or the path of a CSV file, which may be gzipped.
      columns: Leading columns that are choices; for a file of the user's own.

    Returns:
      The table; metrics are numbers, lower ones better.

    Raises:
      UserError: If there is no such file, or it is not such a table.
    """
    path = _FOLDER / f"{name}.csv.gz" if name in TABLES else pathlib.Path(name)
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        lines = list(csv.reader(io.StringIO(raw.decode())))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        allowed = f"{', '.join(TABLES)}, or a CSV file ({error})"
        raise UserError("space", name, allowed) from error
    return _table(lines, TABLES.get(name, columns), name)


def _table(lines: list[list[str]], columns: int, name: str) -> Table:
    if len(lines) < 2:
        raise UserError("space", name, "a table with a header and at least one row")
    header, body = lines[0], lines[1:]
    if not 0 < columns < len(header):
        raise UserError("columns", columns, f"1 to {len(header) - 1} leading columns of choices")
    for number, line in enumerate(body, start=2):
        if len(line) != len(header):
            raise UserError("space", name, f"{len(header)} fields in line {number}")
    metrics = {
        title: _numbers([line[at] for line in body], f"{name}, column {title}")
        for at, title in enumerate(header[columns:], start=columns)
    }
    architectures = [tuple(line[:columns]) for line in body]
    rows = {architecture: row for row, architecture in enumerate(architectures)}
    if len(rows) < len(body):
        raise UserError("space", name, "each architecture in one row")
    options = [list(dict.fromkeys(column)) for column in zip(*architectures, strict=True)]
    space = choices(options)
    if len(rows) < math.prod(map(len, options)):
        space = only(space, architectures)
    return Table(space, rows, metrics)


def _numbers(texts: list[str], field: str) -> np.ndarray:
    try:
        found = np.array(texts, np.float64)
    except ValueError as error:
        raise UserError(field, str(error).split(": ")[-1], "numbers") from error
    if not np.isfinite(found).all():
        raise UserError(field, "inf or nan", "finite numbers")
    return found


def check_metric(table: Table, field: str, name: Any) -> None:
    """Makes sure that a table has a metric.

    Raises:
      UserError: If not.
    """
    if name not in table.metrics:
        raise UserError(field, name, ", ".join(table.metrics))
