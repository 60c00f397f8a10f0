"""Style of figures: a palette for light and dark, a marker and line style per arm.

Figures are drawn in the light colours below. On a page, each colour becomes a CSS variable; files
keep the light colours.
"""

from typing import Any

from gpnas.report._groups import Series

# CSS variable → (light, dark). Arms: Okabe and Ito's palette for colour-blind readers, deepened
# for text on white; the dense baseline is grey and development vermilion.
COLOURS = {
    "ink": ("#1d1f23", "#e8e6e1"),
    "muted": ("#5f636b", "#a3a7af"),
    "grid": ("#e4e2dc", "#33363c"),
    "paper": ("#fffefc", "#17191c"),
    "c0": ("#4b4f57", "#c3c7cf"),
    "c1": ("#cc4a0a", "#ff8a4f"),
    "c2": ("#00689f", "#5ab4f2"),
    "c3": ("#007d5c", "#35cfa0"),
    "c4": ("#99509a", "#df9ade"),
    "c5": ("#9a6b00", "#e6bb47"),
    "c6": ("#2f8fb3", "#93e0ff"),
    "c7": ("#7f2f3d", "#f2a0ab"),
}
INK, MUTED, GRID, PAPER = (COLOURS[name][0] for name in ("ink", "muted", "grid", "paper"))
_MARKERS = (("o", "o"), ("D", "P"), ("s", "X"), ("^", "<"), ("v", ">"), ("p", "*"), ("h", "d"))
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
FONT_SIZE = 11.0
RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": FONT_SIZE,
    "text.parse_math": False,
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": FONT_SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 1.0,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": PAPER,
    "path.simplify": False,
}


def colour(series: Series) -> str:
    """Returns the arm's colour."""
    return COLOURS[f"c{series.colour}"][0]


def marker(series: Series) -> str:
    """Returns the arm's marker; arms differ in more than colour."""
    own = _MARKERS[series.colour % len(_MARKERS)]
    return own[series.turn % len(own)]


def dashes(series: Series, setting: int = 0) -> Any:
    """Returns the line style of an arm's setting: solid until the palette is exhausted."""
    return _DASHES[(series.turn + setting) % len(_DASHES)]


def css_variables() -> str:
    """Returns the palette as CSS, light and dark."""
    light = "".join(f"--{name}:{pair[0]};" for name, pair in COLOURS.items())
    dark = "".join(f"--{name}:{pair[1]};" for name, pair in COLOURS.items())
    return (
        f":root{{color-scheme:light dark;{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    )
