"""Tables as HTML, as aligned text and as Markdown, from one description."""

import dataclasses
import html
from collections.abc import Sequence

from gpnas.report._groups import Series


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
      label: Its heading.
      numeric: Whether it is set flush right.
      help: A longer explanation for a tooltip.
    """

    label: str
    numeric: bool = True
    help: str = ""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
      text: What it says.
      order: What it is sorted by; None sorts last.
      series: The arm whose colour stands before the text.
      detail: A second, smaller part of the text.
      share: A share in [0, 1] that is drawn as a bar.
    """

    text: str
    order: float | str | None = None
    series: Series | None = None
    detail: str = ""
    share: float | None = None

    @property
    def whole(self) -> str:
        """Text and detail as one text."""
        return f"{self.text} ({self.detail})" if self.detail else self.text


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table with a caption; the first column names the row.

    Attributes:
      caption: What the table shows.
      columns: Its columns.
      rows: As many cells a row as there are columns.
      notes: Sentences below it.
      sortable: Whether a click on a heading sorts it.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    sortable: bool = True

    def to_html(self) -> str:
        """Returns the table as HTML, in a region that scrolls sideways on a narrow screen."""
        head = "".join(
            f'<th scope="col"{_class(c)}{_title(c)}>{html.escape(c.label)}</th>'
            for c in self.columns
        )
        body = "".join(
            "<tr>"
            + "".join(_html_cell(self.columns[i], cell, first=i == 0) for i, cell in enumerate(row))
            + "</tr>\n"
            for row in self.rows
        )
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        caption = html.escape(self.caption)
        sortable = ' class="sortable"' if self.sortable and len(self.rows) > 1 else ""
        return (
            f'<div class="sheet"><p class="hint" aria-hidden="true">Scrolls sideways →</p>'
            f'<div class="scroll" role="region" aria-label="{caption}" tabindex="0">'
            f"<table{sortable}><caption><span>{caption}</span></caption>"
            f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div></div>"
            + (f'<div class="notes">{notes}</div>' if notes else "")
        )

    def to_text(self) -> str:
        """Returns the table as aligned plain text, as wide as it needs to be."""
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
            [c.label for c in self.columns],
            ["--:" if c.numeric else "---" for c in self.columns],
        ]
        lines += [[_markdown(cell.whole) for cell in row] for row in self.rows]
        text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
        return text + "".join(f"\n{_markdown(note)}\n" for note in self.notes)


def _class(column: Column) -> str:
    return ' class="n"' if column.numeric else ""


def _title(column: Column) -> str:
    return f' title="{html.escape(column.help)}"' if column.help else ""


def _html_cell(column: Column, cell: Cell, *, first: bool) -> str:
    order = "" if cell.order is None else f' data-o="{html.escape(str(cell.order))}"'
    text = html.escape(cell.text)
    kind = _class(column)
    if cell.series is not None:
        kind = ' class="arm"'
        text = f'<i class="dot c{cell.series.colour}"></i>{text}'
    if cell.detail:
        text += f" <small>{html.escape(cell.detail)}</small>"
    if cell.share is not None:
        text += f'<b class="bar"><b style="width:{100 * min(max(cell.share, 0), 1):.1f}%"></b></b>'
    tag, scope = ("th", ' scope="row"') if first else ("td", "")
    return f"<{tag}{scope}{kind}{order}>{text}</{tag}>"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _markdown(text: str) -> str:
    text = html.escape(_one_line(text), quote=False)
    for mark in "\\|*_`[]":
        text = text.replace(mark, "\\" + mark)
    return text
