"""Tables, as aligned text and as Markdown; page.html shows them as HTML."""

import dataclasses
import html
from collections.abc import Callable, Sequence
from pathlib import Path

from gpnas.report._groups import Group, Series


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
      label: Heading.
      numeric: Whether it is right-aligned.
      help: A longer explanation for a tooltip.
    """

    label: str
    numeric: bool = True
    help: str = ""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
      text: The text.
      order: Sort key; None sorts last.
      series: Arm whose colour precedes the text.
      detail: A second, smaller part of the text.
      share: Fraction in [0, 1], drawn as a bar.
      links: Names and paths of files linked below the text.
    """

    text: str
    order: float | str | None = None
    series: Series | None = None
    detail: str = ""
    share: float | None = None
    links: tuple[tuple[str, Path], ...] = ()

    @property
    def whole(self) -> str:
        """Text, detail and names of files as one text."""
        text = f"{self.text} ({self.detail})" if self.detail else self.text
        return " ".join(part for part in (text, ", ".join(name for name, _ in self.links)) if part)


def group_cell(group: Group) -> Cell:
    """Returns the name of a group with its arm's colour."""
    return Cell(group.series.label, group.label, group.series, group.setting)


def number_cell(number: float | None, form: Callable[[float | None], str]) -> Cell:
    """Returns a number formatted by `form` and sorted by value."""
    return Cell(form(number), number)


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table with a caption; the first column names the row.

    Attributes:
      caption: What the table shows.
      columns: The columns.
      rows: One cell per column in each row.
      notes: Sentences below the table.
      sortable: Whether a click on a heading sorts it.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    sortable: bool = True

    def to_text(self) -> str:
        """Returns the table as aligned plain text, of any width."""
        lines = [[c.label for c in self.columns]]
        lines += [[_one_line(cell.whole) for cell in row] for row in self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        rule = "  ".join("-" * width for width in widths)
        aligned = [
            "  ".join(
                text.rjust(width) if column.numeric else text.ljust(width)
                for text, width, column in zip(line, widths, self.columns, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([aligned[0], rule, *aligned[1:], *self.notes])

    def to_markdown(self) -> str:
        """Returns the table as a Markdown table, followed by its notes."""
        lines = [
            [_markdown(c.label) for c in self.columns],
            ["--:" if c.numeric else "---" for c in self.columns],
        ]
        lines += [[_markdown(cell.whole) for cell in row] for row in self.rows]
        text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
        return text + "".join(f"\n{_markdown(note)}\n" for note in self.notes)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _markdown(text: str) -> str:
    text = html.escape(_one_line(text), quote=False)
    for mark in "\\|*_`[]":
        text = text.replace(mark, "\\" + mark)
    return text
