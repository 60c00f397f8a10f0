"""Renders Matplotlib figures to files and to small SVG that follows the page's dark mode.

One unit of a figure is one CSS pixel.
"""

import html
import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gpnas.report import style

_VARIABLES = {light: f"var(--{name})" for name, (light, _) in style.COLOURS.items()}


def figure(
    draws: Sequence[tuple[Callable[[Axes], None], tuple[float, float, float, float]]],
    width: float,
    height: float,
    kind: str,
    salt: str,
    text: str = "none",
) -> bytes:
    """Draws axes at given positions and returns the figure's file.

    Args:
      draws: Drawing function and (left, bottom, width, height) in pixels of each axes.
      width: The figure's width in pixels.
      height: The figure's height in pixels.
      kind: `"svg"` or `"png"`; PNG has twice the resolution.
      salt: Salt of ids in the SVG; equal salt and data give equal bytes.
      text: `"none"` for SVG text or `"path"` for outlines, which need no font.

    Returns:
      The bytes of the file.
    """
    rc: dict[Any, Any] = {**style.RC, "svg.hashsalt": salt, "svg.fonttype": text}
    buffer = io.BytesIO()
    with matplotlib.rc_context(rc), warnings.catch_warnings():
        # Browsers have fonts for scripts that this font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        fig = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasAgg(fig)
        for draw, (left, bottom, w, h) in draws:
            draw(fig.add_axes((left / width, bottom / height, w / width, h / height)))
        if kind == "svg":
            metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
            fig.savefig(buffer, format="svg", metadata=metadata)
        else:
            fig.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    return buffer.getvalue()


def inline_svg(svg: bytes, prefix: str, label: str) -> str:
    """Converts an SVG file into an element for embedding in a page.

    Colours become CSS variables, numbers are rounded, and ids get a prefix. Global styles and
    references to other documents are dropped.

    Args:
      svg: A file from `figure`.
      prefix: Unique in the page.
      label: Text alternative for screen readers.

    Returns:
      An `<svg>` element.
    """
    text = svg.decode()
    head, body = text[text.index("<svg") :].split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', head)
    body = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL
    )
    body = re.sub(r"\b(font: [\d.]+px|font-family:) ?'[^;\"]*(; )?", _font, body)
    body = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", body)
    body = body.replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r'(href="|url\()#', rf"\1#{prefix}", body)
    body = re.sub(r"<[^>]*>", _shrink_tag, body)
    body = re.sub(r"<defs>\s*</defs>", "", body)
    body = re.sub(r">\s*\n\s*<", "><", body).strip()
    size = (box[1] if box else "0 0 1 1").split()
    return (
        f'<svg viewBox="{box[1] if box else ""}" width="{size[2]}" height="{size[3]}" role="img" '
        f'aria-label="{html.escape(label)}">{body}'
    )


def _font(match: re.Match[str]) -> str:
    """Keeps a font's size; its family is set by the page."""
    if match[1].startswith("font:"):
        return match[1].replace("font:", "font-size:") + (match[2] or "")
    return ""


def _shrink_tag(match: re.Match[str]) -> str:
    tag = re.sub(r"-?\d+\.\d+", lambda m: _short(m[0]), match[0])
    tag = re.sub(r"\s+", " ", tag).replace(": ", ":").replace("; ", ";")
    return re.sub(r"#[0-9a-f]{6}\b", lambda m: _VARIABLES.get(m[0], m[0]), tag)


def _short(digits: str) -> str:
    text = f"{float(digits):.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
