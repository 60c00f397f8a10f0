"""Tables and a figure of compacted networks and sparse matrices."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from gpnas.report import Cell, Column, FigureSpec, Panel, Table, formatting, place_labels, style

Record = Mapping[str, Any]
TARGET = 0.6  # speed-up ÷ MAC reduction at the batch below
_BATCH = 64
_SPARSE = ("CSR, SciPy", "BCSR, JAX")
_WHOLE = "LeNet-300-100"
_SIZE, _MARGINS = (300.0, 240.0), (52.0, 50.0, 26.0, 42.0)
_COLOURS = ("c0", "c1", "c2", "c3")


def unit_table(records: Sequence[Record]) -> Table:
    """Tabulates speed-up of compacted networks and reduction of MACs.

    Args:
      records: Records of the study; those of part "units" are shown.
    """
    texts = ("network", "removed", "runtime")
    titles = ("threads", "MACs ÷", "ONNX kB", "speed-up, batch 1", f"speed-up, batch {_BATCH}",
              "÷ MAC reduction", f"≥ {TARGET}")  # fmt: skip
    columns = [*(Column(text, numeric=False) for text in texts), *map(Column, titles)]
    own = [record for record in records if record["part"] == "units"]
    rows = [[Cell(text) for text in row] for record in own for row in _unit_rows(record)]
    note = (
        "Random units, at random weights. Speed-up: ratio of the shortest of many calls,"
        " alternating between the two networks. JAX: jit, plain convolutions; 'either"
        " convolution': of each"
        " network the faster of a plain one and im2col. Undecided: ratios that round to 0.60."
    )
    return Table("Networks without some of their units", columns, rows, [note])


def _unit_rows(record: Record) -> list[list[str]]:
    macs, size = record["macs"], record["onnx_bytes"]
    reduction = macs["dense"] / macs["compact"]
    rows = []
    for (runtime, threads), found in _by_runtime(record["rows"]).items():
        reached = found[_BATCH] / reduction
        rows.append(
            [
                record["arm"],
                f"{record['share']:.0%}",
                runtime,
                str(threads),
                f"{reduction:.2f}",
                f"{size['dense'] / 1000:.0f} → {size['compact'] / 1000:.0f}",
                f"{found[1]:.2f}",
                f"{found[_BATCH]:.2f}",
                f"{reached:.2f}",
                _target_text(reached),
            ]
        )
    return rows


def _target_text(ratio: float) -> str:
    if round(ratio, 2) == TARGET:
        return "undecided"
    return "yes" if ratio > TARGET else "no"


def _by_runtime(rows: Sequence[Record]) -> dict[tuple[str, int], dict[int, float]]:
    """Returns speed-up by batch for each runtime and number of threads; JAX's convolutions as
    one."""
    ms: dict[tuple[str, int, int], Mapping[str, float]] = {
        (row["runtime"], row["threads"], row["batch"]): row["ms"] for row in rows
    }
    found: dict[tuple[str, int], dict[int, float]] = {}
    for (runtime, threads, batch), one in ms.items():
        other = ms.get(("JAX", threads, batch), one)
        if runtime == "JAX, im2col":
            runtime = "JAX, either convolution"
            one = {name: min(one[name], other[name]) for name in one}
        found.setdefault((runtime, threads), {})[batch] = one["dense"] / one["compact"]
    return found


def sparse_tables(records: Sequence[Record]) -> list[Table]:
    """Tabulates the speed-up of sparse matrices by density and batch, and break-even densities.

    Args:
      records: Records of the study; those of part "sparse" are shown.
    """
    own = {record["arm"]: record["rows"] for record in records if record["part"] == "sparse"}
    if _WHOLE not in own:
        return []
    note = (
        "Random zeros, one thread, shortest call. Speed-up over the faster of NumPy's and JAX's"
        " dense products, whose time does not depend on the density."
    )
    return [_gain_table(own[_WHOLE], note), _threshold_table(own, note)]


def _gain_table(rows: Sequence[Record], note: str) -> Table:
    batches = _values(rows, "batch")
    columns = [Column("density")]
    columns += [Column(f"{way.partition(',')[0]}, batch {b}") for way in _SPARSE for b in batches]
    gains = {
        (row["density"], row["batch"], way): _gain(row, way) for row in rows for way in _SPARSE
    }
    lines = [
        [Cell(f"{100 * density:g} %")]
        + [Cell(f"{gains[density, batch, way]:.2f}") for way in _SPARSE for batch in batches]
        for density in _values(rows, "density")
    ]
    return Table(f"{_WHOLE}: speed-up by sparse matrices", columns, lines, [note])


def _threshold_table(own: Mapping[str, Sequence[Record]], note: str) -> Table:
    batches = _values(own[_WHOLE], "batch")
    columns = [Column(title, numeric=False) for title in ("layer", "matrix")]
    columns += [Column(f"batch {batch}") for batch in batches]
    lines = [
        [Cell(layer), Cell(way), *(Cell(_pays(rows, way, batch)) for batch in batches)]
        for layer, rows in own.items()
        for way in _SPARSE
    ]
    return Table("Largest density from which on sparse matrices are faster", columns, lines, [note])


def _pays(rows: Sequence[Record], way: str, batch: int) -> str:
    """Returns the largest density up to which an implementation is faster; a dash if there is
    none."""
    found = None
    for row in sorted((r for r in rows if r["batch"] == batch), key=lambda r: r["density"]):
        if _gain(row, way) <= 1:
            break
        found = row["density"]
    return formatting.MISSING if found is None else f"{100 * found:g} %"


def _gain(row: Record, way: str) -> float:
    dense = min(ms for name, ms in row["ms"].items() if name.startswith("dense"))
    return dense / row["ms"][way]


def _values(rows: Sequence[Record], field: str) -> list[Any]:
    return list(dict.fromkeys(row[field] for row in rows))


def sparse_figure(records: Sequence[Record]) -> FigureSpec:
    """Plots speed-up of the whole network against density, by kind of matrix and batch.

    Args:
      records: Records of the study.
    """
    own = [r["rows"] for r in records if r["part"] == "sparse" and r["arm"] == _WHOLE]
    rows = own[-1] if own else []
    panels = [
        Panel(functools.partial(_draw, way, rows), _description(way, rows), *_SIZE, _MARGINS)
        for way in _SPARSE
    ]
    caption = (
        "Times faster than the faster dense product, on one thread. Above the line at 1, sparse"
        " matrices are faster. Both axes are logarithmic; networks become sparser to the right."
    )
    return FigureSpec("sparse", f"{_WHOLE} by sparse matrices", caption, panels, columns=2)


def _description(way: str, rows: Sequence[Record]) -> str:
    parts = (f"{_gain(r, way):.2f} at {100 * r['density']:g} %, batch {r['batch']}" for r in rows)
    return f"{way}: {'; '.join(parts)}."


def _draw(way: str, rows: Sequence[Record], ax: Axes) -> None:
    gains = [_gain(row, other) for row in rows for other in _SPARSE] or [1.0]
    ax.set(xscale="log", yscale="log", xlim=(65, 0.4), ylim=(min(gains) / 1.2, max(gains) * 1.2))
    ax.set(xlabel="weights left, % (log scale)", ylabel="times faster than dense")
    ax.xaxis.set_major_locator(FixedLocator([50, 20, 10, 5, 2, 1, 0.5]))
    ax.yaxis.set_major_locator(FixedLocator([0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: formatting.tick(value)))
    ax.set_title(way, loc="left", weight="bold", fontsize=style.FONT_SIZE)
    ax.axhline(1, color=style.MUTED, lw=1.2)
    names = []
    for batch, key in zip(_values(rows, "batch"), _COLOURS, strict=False):
        colour = style.COLOURS[key][0]
        points = [(100 * r["density"], _gain(r, way)) for r in rows if r["batch"] == batch]
        ax.plot(*zip(*points, strict=True), "o-", color=colour, ms=4, lw=1.6)
        names.append((points[::-1], f"batch {batch}", colour))
    place_labels(ax, names)
