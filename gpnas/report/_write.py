"""Writes reports: renders everything first, then writes each file atomically."""

import os
from collections.abc import Sequence
from pathlib import Path

from gpnas._files import NO_SPACE, PathLike, write_bytes
from gpnas.errors import UserError
from gpnas.report import _first_layer, _page, _results, _searches
from gpnas.report._front_results import front_table
from gpnas.report._read import Loaded
from gpnas.report._summarise import summarise
from gpnas.report._table import Table

_MADE_HERE = b'<meta name="generator" content="gpnas.report">'
_TABLE = "table.md"
_TABLE_MADE_HERE = b"<!-- gpnas.report -->\n"


def text_table(loaded: Loaded) -> str:
    """Returns the result table as aligned plain text, with the unfinished runs below.

    Args:
      loaded: What `read_runs` returned.

    Returns:
      Text without a final newline.
    """
    return _tables(loaded, "text")


def markdown_table(loaded: Loaded) -> str:
    """Returns the result table as Markdown, with the unfinished runs below.

    Args:
      loaded: What `read_runs` returned.
    """
    return _tables(loaded, "markdown")


def _tables(loaded: Loaded, form: str) -> str:
    summary = summarise(loaded)
    finished = [
        _results.result_table(part, name) for name, part in summary.by_problem() if part.groups
    ]
    fronts = [front_table(own) for own in summary.fronts]
    unfinished = [table for table in [_results.unfinished_table(summary)] if table is not None]
    titled = _searches.search_tables(summary)
    if len(finished) > 1:  # each names its problem
        tables, titled = unfinished, [*finished, *titled]
    else:
        tables = [*finished, *unfinished]
    titled = [*fronts, *titled]
    made = [_table(table, form) for table in tables]
    made += [f"{table.caption}\n\n{_table(table, form)}" for table in titled]
    return "\n\n".join(made)


def _table(table: Table, form: str) -> str:
    return table.to_text() if form == "text" else table.to_markdown()


def write(
    loaded: Loaded,
    output: PathLike,
    title: str | None = None,
    figures_dir: PathLike | None = None,
) -> Path:
    """Writes the page and, optionally, its figures and table as files.

    Args:
      loaded: What `read_runs` returned.
      output: The HTML file, in an existing directory.
      title: The heading of the page.
      figures_dir: A directory for `NAME.svg`, `NAME.png` and `table.md`; created if missing, in an
        existing directory.

    Returns:
      The path of the page.

    Raises:
      UserError: A path cannot be written to. Nothing is written then.
      OSError: The disk is full or fails. Each file is then either new or unchanged.
    """
    output = Path(output)
    _check_parent("output", output)
    if output.is_dir():
        raise UserError("output", str(output), "a file, not a directory")
    if output.is_file() and output.stat().st_size and _MADE_HERE not in output.read_bytes():
        raise UserError("output", str(output), "a new file, or a page of gpnas to replace")
    files = {output: _page.render(loaded, title, output.parent).encode()}
    if figures_dir is not None:
        folder = Path(figures_dir)
        _check_parent("figures_dir", folder)
        if folder.exists() and not folder.is_dir():
            raise UserError("figures_dir", str(folder), "a directory")
        # First, so that a later report replaces these files even if one cannot be written now.
        files[folder / _TABLE] = _TABLE_MADE_HERE + markdown_table(loaded).encode() + b"\n"
        summary = summarise(loaded)
        specs = [*_page.figures(summary), _first_layer.receptive_figure(summary)]
        for spec in specs:
            if spec is not None:
                for kind in ("svg", "png"):
                    files[folder / f"{spec.name}.{kind}"] = spec.file(kind)
        _check_replaced(folder, [path for path in files if path != output])
    try:
        if figures_dir is not None:
            Path(figures_dir).mkdir(exist_ok=True)
        for path, data in files.items():
            write_bytes(path, data)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise
        reason = error.strerror or type(error).__name__
        raise UserError("output", str(output), f"a path that can be written ({reason})") from error
    return output


def _check_replaced(folder: Path, paths: Sequence[Path]) -> None:
    """Checks that files to be replaced are those of an earlier report."""
    table = folder / _TABLE
    if table.is_file() and table.read_bytes().startswith(_TABLE_MADE_HERE):
        return
    if there := [path.name for path in paths if path.exists()]:
        allowed = f"a folder without {there[0]}, or with figures and {_TABLE} of gpnas to replace"
        raise UserError("figures_dir", str(folder), allowed)


def _check_parent(field: str, path: Path) -> None:
    if not path.parent.is_dir():
        raise UserError(field, str(path), "a path in a directory that exists")
    if not os.access(path.parent, os.W_OK):
        raise UserError(field, str(path), "a path in a directory that can be written")
