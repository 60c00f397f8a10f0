"""Tables between the markers of a page, `<!-- begin NAME -->` and `<!-- end NAME -->`."""

from collections.abc import Sequence

from gpnas.errors import UserError
from gpnas.report.table import Table


def fill(text: str, name: str, tables: Sequence[Table], picture: str = "") -> str:
    """Writes tables between a page's markers in place of what stands there.

    Args:
      text: The page, Markdown.
      name: Of the markers.
      tables: What to write, each below its caption.
      picture: Markdown that comes after them.

    Returns:
      The page.

    Raises:
      UserError: If the page has no such markers.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UserError("page", name, f"a page with the lines {begin} and {end}")
    parts = [f"**{table.caption}**\n\n{table.to_markdown()}" for table in tables]
    shown = "\n".join([*parts, picture] if picture else parts)
    return f"{before}{begin}\n{shown}{end}{after}"


def show(tables: Sequence[Table]) -> None:
    """Prints tables as text."""
    for table in tables:
        print(f"{table.caption}\n{table.to_text()}\n", flush=True)
