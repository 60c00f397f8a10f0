"""Tables of numbers: comma-separated values with a header line."""

import array
import csv
import decimal
import functools
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpnas.data import _cache
from gpnas.data._dataset import row_blocks
from gpnas.data._fields import TARGETS, Fields, TargetKind
from gpnas.data._user_files import by_split, list_files, not_text
from gpnas.errors import UserError, check_choice

_FIELD = "data.name"
_KINDS: Mapping[str, TargetKind] = {"class": "class", "value": "value", "labels": "labels"}
_GROUPED = "_"  # Python parses 1_000 as a number, other programs do not
_ROWS_PER_CLASS = 2  # fewer on average: values, not classes


class Target(NamedTuple):
    """The target of a prediction.

    Attributes:
      columns: Names of the target columns; empty for the last column.
      kind: Kind of the targets.
    """

    columns: tuple[str, ...]
    kind: TargetKind


class _Rows(NamedTuple):
    """The rows of a file.

    Attributes:
      features: float32, (n, columns).
      targets: (n, outputs): class numbers in the order of first occurrence, values, or labels.
      lines: (n,), line number of each row.
    """

    features: npt.NDArray[np.float32]
    targets: npt.NDArray[Any]
    lines: Sequence[int]


class _Cells(NamedTuple):
    """Parser of the cells of target columns.

    Attributes:
      code: Type code of `array`.
      parse: `cell → number`; a ValueError describes what is allowed.
    """

    code: str
    parse: Callable[[str], float]


def parse_target(target: object, kind: object) -> Target:
    """Checks and parses the fields `data.target` and `data.target_kind`.

    Raises:
      UserError: If one is invalid.
    """
    check_choice("data.target_kind", kind, _KINDS)
    if not isinstance(target, str):
        raise UserError("data.target", target, "names of columns, with commas between them")
    names = tuple(name.strip() for name in target.split(",")) if target.strip() else ()
    if len(set(names)) != len(names) or "" in names:
        raise UserError(
            "data.target", target, "different names of columns, with commas between them"
        )
    if kind == "class" and len(names) > 1:
        raise UserError("data.target", target, "one column of classes")
    return Target(names, _KINDS[str(kind)])


def scan_table(path: Path) -> Mapping[str, Path]:
    """Returns the files of a table: `train`, and `test` and `validation` if they exist.

    Args:
      path: A file, or a folder with `train.csv` and optionally `test.csv` and `val.csv`.

    Raises:
      UserError: If there is no such file.
    """
    files = list_files("csv", path, ".csv")
    splits = {"train": path} if path.is_file() else by_split(files)
    if not splits:
        raise UserError(_FIELD, f"csv:{path}", "a file, or a folder that holds train.csv")
    return splits


def decode_table(files: Mapping[str, Path], folder: Path, target: Target) -> Fields:
    """Decodes a table into a cache entry.

    Args:
      files: Files by split.
      folder: The cache entry to write.
      target: Target of the prediction.

    Returns:
      The fields.

    Raises:
      UserError: If a file cannot be read, or a cell is invalid; the message gives its line.
    """
    columns, outputs = _columns(files["train"], target)
    seen: dict[str, int] = {}
    cells = {
        "class": _Cells("i", functools.partial(_class_number, seen)),
        "value": _Cells("f", _number),
        "labels": _Cells("b", _label),
    }[target.kind]
    names, number_of = outputs, np.zeros(0, np.int32)
    for part, path in files.items():  # train is the first
        rows = _read(path, columns, outputs, cells)
        targets = rows.targets
        if target.kind == "class":
            if part == "train":
                names, number_of = _classes(path, outputs[0], seen, len(rows.lines))
            codes = targets[:, 0]
            new = np.flatnonzero(codes >= len(number_of))
            if new.size:
                where = _where(path, rows.lines[new[0]], outputs[0])
                text = list(seen)[codes[new[0]]]
                raise UserError(_FIELD, f"{where}: {text}", f"a class of train: {', '.join(names)}")
            targets = number_of[codes]
        inputs = _cache.new_inputs(folder, part, rows.features.shape, np.float32)
        inputs[:] = rows.features
        inputs.flush()
        _cache.save_targets(folder, part, targets, TARGETS[target.kind].dtype)
    return Fields("features", target.kind, len(names), names, columns=columns)


def _columns(path: Path, target: Target) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the names of features and targets from the header line."""
    header = _header(path)
    outputs = target.columns or header[-1:]
    for name in outputs:
        check_choice("data.target", name, header, f"a column of {path}: ")
    columns = tuple(name for name in header if name not in outputs)
    if not columns:
        raise UserError(_FIELD, str(path), "a table with a column that is no target")
    return columns, outputs


def _header(path: Path) -> tuple[str, ...]:
    """Returns the column names of a file."""
    line, cells = next(_lines(path), (1, []))
    names = tuple(cell.strip() for cell in cells)
    if len(names) < 2:
        allowed = "a header line with names of two columns or more, with commas between them"
        raise UserError(_FIELD, f"{path}:{line}", allowed)
    if all(_is_number(name) for name in names):
        raise UserError(
            _FIELD, f"{path}:{line}", "a header line with the columns' names, not numbers"
        )
    if "" in names:
        allowed = f"a name for column {names.index('') + 1} (remove an index column)"
        raise UserError(_FIELD, f"{path}:{line}", allowed)
    twice = [name for at, name in enumerate(names) if name in names[:at]]
    if twice:
        raise UserError(_FIELD, f"{path}:{line}, column {twice[0]!r}", "different names of columns")
    return names


def _read(path: Path, columns: Sequence[str], outputs: Sequence[str], target: _Cells) -> _Rows:
    """Reads the rows of a file; the order of its columns may differ from `train`."""
    header = _header(path)
    if set(header) != {*columns, *outputs}:
        allowed = f"a header with the columns of train: {', '.join((*columns, *outputs))}"
        raise UserError(_FIELD, f"{path}:1", allowed)
    order = [header.index(name) for name in (*columns, *outputs)]
    pick: Callable[[list[str]], tuple[str, ...]] = operator.itemgetter(*order)
    split = len(columns)
    features, lines = array.array("f"), array.array("q")
    targets: Any = array.array(target.code)
    rows = _lines(path)
    next(rows)
    for line, row in rows:
        if len(row) != len(header):
            allowed = f"{len(header)} cells, as the header has, not {len(row)}"
            raise UserError(_FIELD, f"{path}:{line}", allowed)
        cells = pick(row)
        try:
            features.extend(map(float, cells[:split]))  # `_number` is three times slower
            if _GROUPED in "".join(cells[:split]):
                raise ValueError
            targets.extend(map(target.parse, cells[split:]))
        except ValueError:
            raise _wrong_cell(path, line, cells, (*columns, *outputs), split, target) from None
        lines.append(line)
    if not lines:
        raise UserError(_FIELD, str(path), "a table with rows below its header")
    found = _Rows(
        np.frombuffer(features, np.float32).reshape(-1, split),
        np.frombuffer(targets, target.code).reshape(-1, len(outputs)),
        lines,
    )
    for values, names in ((found.features, columns), (found.targets, outputs)):
        _check_finite(path, values, names, lines)
    return found


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and cells of each non-empty line of a file."""
    line = 0
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                line = reader.line_num
                if row:
                    yield line, row
    except UnicodeDecodeError as error:
        raise not_text(path) from error
    except csv.Error as error:
        raise UserError(
            _FIELD, f"{path}:{line + 1}", f"comma-separated values ({error})"
        ) from error
    except OSError as error:
        raise UserError(_FIELD, str(path), f"a readable file ({error})") from error


def _number(cell: str) -> float:
    if _GROUPED in cell:
        raise ValueError("a number")
    try:
        value = float(cell)
    except ValueError:
        raise ValueError("a number; remove or fill rows with missing values") from None
    return value


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(_number(cell))
    except ValueError:
        return False


def _label(cell: str) -> int:
    if _number(cell) not in (0, 1):
        raise ValueError("0 or 1 (data.target_kind=labels)")
    return int(_number(cell))


def _class_number(seen: dict[str, int], cell: str) -> int:
    """Returns the number of a class by first occurrence; equal numbers are one class."""
    if cell in seen:
        return seen[cell]
    text = cell.strip()
    if text.lower() in ("", "nan"):
        raise ValueError("the name of a class")
    if _is_number(text):  # whole numbers exactly: identifiers may have more digits than a float
        whole = float(text).is_integer()
        text = str(int(decimal.Decimal(text))) if whole else repr(float(text))
    return seen.setdefault(text, len(seen))


def _wrong_cell(
    path: Path, line: int, cells: Sequence[str], names: Sequence[str], split: int, target: _Cells
) -> UserError:
    """Returns the error for the first cell of a row that cannot be parsed."""
    for at, (cell, name) in enumerate(zip(cells, names, strict=True)):
        try:
            (_number if at < split else target.parse)(cell)
        except ValueError as error:
            return UserError(_FIELD, f"{_where(path, line, name)}: {cell}", str(error))
    return UserError(_FIELD, f"{path}:{line}", "numbers")


def _check_finite(
    path: Path, values: npt.NDArray[Any], names: Sequence[str], lines: Sequence[int]
) -> None:
    done = 0
    for rows in row_blocks(values):
        wrong = np.argwhere(~np.isfinite(rows))
        if wrong.size:
            row, column = wrong[0]
            where = _where(path, lines[done + row], names[column])
            allowed = "a number that is finite in float32; rows with missing values are to be left"
            raise UserError(_FIELD, where, f"{allowed} out or filled, not {rows[row, column]}")
        done += len(rows)


def _where(path: Path, line: int, column: str) -> str:
    return f"{path}:{line}, column {column!r}"


def _classes(
    path: Path, column: str, seen: Mapping[str, int], rows: int
) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """Returns sorted class names (numbers by value) and the index of each class in `seen`.

    Raises:
      UserError: If there is only one class, or if these are values, not classes.
    """
    where = f"{path}, column {column!r}"
    values = "for values: task.name=regression, or data.target_kind=value"
    if len(seen) < 2:
        raise UserError(_FIELD, where, f"two classes or more, not {', '.join(seen)} alone")
    numeric = all(map(_is_number, seen))
    if numeric and not all(float(name).is_integer() for name in seen):
        name = next(name for name in seen if not float(name).is_integer())
        raise UserError(_FIELD, where, f"classes, whole numbers or names, not {name} ({values})")
    if len(seen) * _ROWS_PER_CLASS > rows:
        allowed = f"classes with more rows: {len(seen)} in {rows} rows ({values})"
        raise UserError(_FIELD, where, allowed)
    names = sorted(seen, key=int) if numeric else sorted(seen)
    place = {name: at for at, name in enumerate(names)}
    return tuple(names), np.array([place[name] for name in seen], np.int32)
