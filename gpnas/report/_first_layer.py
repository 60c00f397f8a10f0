"""Images of the first layer: active weights per pixel, and some filters."""

import base64
import dataclasses
import functools
import io
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from gpnas.report import formatting, style
from gpnas.report._figures import FigureSpec, Panel
from gpnas.report._groups import Group, Series, Summary

MAX_ARMS = 12
MAX_FILTERS = 16
MAX_SIDE = 96
_LEVELS = 31
_GAP = 2


@dataclasses.dataclass(frozen=True, eq=False)
class FirstLayer:
    """Images of an arm's first layer.

    Attributes:
      group: The runs it was made from.
      live: (H, W) in [0, 1], number of active weights per pixel relative to the maximum; 0 only if
        there are none.
      filters: (H', W') in [-1, 1], a tiling of units' weights; NaN between them. None if unknown.
      caption: Meaning of the numbers.
      filters_caption: The same for the filters.
    """

    group: Group
    live: np.ndarray
    filters: np.ndarray | None
    caption: str
    filters_caption: str

    @property
    def series(self) -> Series:
        """The arm."""
        return self.group.series

    @property
    def images(self) -> Iterator[tuple[np.ndarray, bool, str]]:
        """Each known image, whether it is of filters, with signed numbers, and its caption."""
        yield self.live, False, self.caption
        if self.filters is not None:
            yield self.filters, True, self.filters_caption


def first_layers(summary: Summary) -> list[FirstLayer]:
    """Returns the images of each arm with a saved receptive field, for at most `MAX_ARMS` arms.

    Args:
      summary: The summary of the report.

    Returns:
      One entry per arm, of the sparsest setting that has one.
    """
    found = []
    for series in summary.series:
        for group in reversed(summary.of(series)):
            layer = _first_layer(group)
            if layer is not None:
                found.append(layer)
                break
    return found[:MAX_ARMS]


def _first_layer(group: Group) -> FirstLayer | None:
    runs = [run for run in group.runs if run.receptive is not None]
    fields = [run.receptive for run in runs if run.receptive is not None]
    if not fields:
        return None
    fields = [field for field in fields if field.live.shape == fields[0].live.shape]
    live = np.mean([field.live for field in fields], axis=0)
    blind = int((live == 0).sum())
    top = float(live.max())
    low, high = formatting.few(float(live.min())), formatting.few(top)
    caption = (
        f"{high if low == high else f'{low} to {high}'} active weights per pixel, "
        f"{formatting.count_text(blind)} of {formatting.count_text(live.size)} pixels without any"
        + (f"; mean of {len(fields)} seeds" if len(fields) > 1 else "")
    )
    filters = fields[0].filters[:MAX_FILTERS]
    tiles = _tile(filters) if len(filters) else None
    seed = runs[0].seed
    text = f"{len(filters)} units" + ("" if seed is None else f" of seed {seed}")
    return FirstLayer(group, _crop(live / top if top else live), tiles, caption, text)


def _crop(image: np.ndarray) -> np.ndarray:
    """Subsamples large images: every k-th pixel, without interpolation."""
    step = -(-max(image.shape) // MAX_SIDE)
    return image[::step, ::step]


def _tile(filters: np.ndarray) -> np.ndarray:
    filters = np.stack([_crop(unit) for unit in filters])
    k, h, w = filters.shape
    columns = int(np.ceil(np.sqrt(k)))
    rows = -(-k // columns)
    tiles = np.full((rows * (h + _GAP) - _GAP, columns * (w + _GAP) - _GAP), np.nan)
    for i, unit in enumerate(filters):
        top, left = (i // columns) * (h + _GAP), (i % columns) * (w + _GAP)
        strongest = np.abs(unit).max()
        tiles[top : top + h, left : left + w] = unit / strongest if strongest else unit
    return tiles


def ramp(series: Series, mode: int, signed: bool) -> np.ndarray:
    """Returns the colour map of an image, from the lowest to the highest level.

    Args:
      series: The arm; its colour is that of the highest level.
      mode: 0 for light, 1 for dark.
      signed: Whether numbers go from -1 (blue) over 0 to 1 (vermilion).

    Returns:
      (levels, 3) bytes. Without a sign, the first level is the page's background, for exactly zero.
    """
    paper = _rgb(style.COLOURS["paper"][mode])
    if signed:
        ends = (_rgb(style.COLOURS["c2"][mode]), _rgb(style.COLOURS["c1"][mode]))
        signs = np.linspace(-1, 1, _LEVELS)[:, None]
        share = np.abs(signs) ** 0.8
        colours = np.where(signs < 0, ends[0], ends[1]) * share + paper * (1 - share)
    else:
        share = np.append(0, np.linspace(0.1, 1, _LEVELS - 1))[:, None]
        colours = _rgb(style.COLOURS[f"c{series.colour}"][mode]) * share + paper * (1 - share)
    return colours.round().astype(np.uint8)


def _rgb(code: str) -> np.ndarray:
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)], float)


def levels(image: np.ndarray, signed: bool) -> np.ndarray:
    """Returns (H, W) uint8, the level of each number; `_LEVELS` for NaN."""
    if signed:
        index = np.nan_to_num(np.round((image + 1) / 2 * (_LEVELS - 1)), nan=_LEVELS)
        return index.astype(np.uint8)
    index = 1 + np.round(image * (_LEVELS - 2))
    return np.where(image > 0, index, 0).astype(np.uint8)


def data_uri(image: np.ndarray, series: Series, mode: int, signed: bool) -> str:
    """Returns the image as the data URI of a small PNG with a palette."""
    indexed = Image.fromarray(levels(image, signed))
    paper = _rgb(style.COLOURS["paper"][mode]).astype(np.uint8)
    indexed.putpalette(np.vstack([ramp(series, mode, signed), paper]).tobytes())
    return png_uri(indexed)


def png_uri(image: Image.Image) -> str:
    """Returns an image as the data URI of a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def receptive_figure(summary: Summary) -> FigureSpec | None:
    """Returns the images as a figure for a file: active weights and filters of each arm."""
    panels = []
    for layer in first_layers(summary):
        for image, signed, text in layer.images:
            title = f"{layer.series.label} · {'filters' if signed else 'active weights'}"
            draw = functools.partial(_draw, image, signed, title, layer.series)
            panels.append(Panel(draw, text, 260.0, 270.0, (12.0, 12.0, 30.0, 4.0)))
    if not panels:
        return None
    columns = 4 if len(panels) > 2 else len(panels)
    return FigureSpec("receptive", HEADING, CAPTION, panels, columns=columns)


HEADING = "Weights of the first layer"
CAPTION = (
    "Above: number of active weights of each input pixel; pixels without any have the "
    "colour of the page. Below: incoming weights of some first-layer units, each unit by its own "
    "strongest weight; vermilion is positive, blue negative, inactive weights have the colour of "
    "the page. Every image has its own scale."
)


def _draw(image: np.ndarray, signed: bool, title: str, series: Series, ax: Axes) -> None:
    paper = _rgb(style.COLOURS["paper"][0]).astype(np.uint8)
    colours = np.vstack([ramp(series, 0, signed), paper])
    ax.imshow(colours[levels(image, signed)], interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(True)
    title = formatting.shorten(title, 34)
    ax.set_title(title, loc="left", color=style.colour(series), weight="bold", fontsize=11)
