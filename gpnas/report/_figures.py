"""Figures of a report: names, captions and panels.

The page arranges the panels of a figure by window width; a file has them side by side.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Self

from matplotlib.axes import Axes

from gpnas.report import _svg

WIDE, NARROW = 760.0, 380.0  # widths of figures for wide and narrow screens, in pixels


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """A pair of axes with margins.

    Attributes:
      draw: Draws onto axes of the final size.
      label: Text alternative for screen readers.
      width: Total width in pixels.
      height: Total height in pixels.
      margins: Margins around the axes: left, right, top, bottom, in pixels.
      row: Heading shared by adjacent panels; may be empty.
    """

    draw: Callable[[Axes], None]
    label: str
    width: float
    height: float
    margins: tuple[float, float, float, float]
    row: str = ""

    def place(self, left: float = 0, bottom: float = 0) -> tuple[float, float, float, float]:
        """Returns left, bottom, width and height of the axes."""
        ml, mr, mt, mb = self.margins
        return left + ml, bottom + mb, self.width - ml - mr, self.height - mt - mb

    def inline(self, prefix: str) -> str:
        """Returns the panel as an SVG element for the page."""
        data = _svg.figure([(self.draw, self.place())], self.width, self.height, "svg", prefix)
        return _svg.inline_svg(data, prefix, self.label)


@dataclasses.dataclass(frozen=True, eq=False)
class FigureSpec:
    """A figure of the report.

    Attributes:
      name: File name without extension, and anchor in the page.
      heading: Its title in the page.
      caption: What it shows and how to read it, in full sentences.
      panels: The panels.
      narrow: Panels for narrow screens; empty if `panels` are small enough.
      columns: Panels side by side on a wide screen and in a file.
      short: Title in the list of sections; the heading if empty.
    """

    name: str
    heading: str
    caption: str
    panels: Sequence[Panel]
    narrow: Sequence[Panel] = ()
    columns: int = 1
    short: str = ""

    def with_ending(self, name: str, title: str) -> Self:
        """Returns the figure with endings of its file's name and of its titles."""
        return dataclasses.replace(
            self, name=self.name + name, heading=self.heading + title, short=self.short + title
        )

    def file(self, kind: str) -> bytes:
        """Returns the figure as one file.

        Args:
          kind: `"svg"`, with text as outlines, or `"png"`.

        Returns:
          The bytes of the file.
        """
        rows: list[list[Panel]] = []
        for panel in self.panels:
            full = not rows or len(rows[-1]) == self.columns
            if full or rows[-1][-1].row != panel.row:
                rows.append([])
            rows[-1].append(panel)
        width = max(sum(panel.width for panel in row) for row in rows)
        height = sum(max(panel.height for panel in row) for row in rows)
        draws = []
        bottom = height
        for row in rows:
            tall = max(panel.height for panel in row)
            bottom -= tall
            left = 0.0
            for panel in row:
                draws.append((panel.draw, panel.place(left, bottom + tall - panel.height)))
                left += panel.width
        return _svg.figure(draws, width, height, kind, self.name, text="path")


def columns_for(n: int) -> int:
    """Returns the number of columns for n equal panels: the last row has few empty places."""
    return n if n <= 3 else min((4, 3), key=lambda c: (-n % c, -c))
