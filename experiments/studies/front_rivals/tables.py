"""Tables and a figure of errors, training FLOPs and hypervolumes of the front and its baselines."""

import collections
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import moocore
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from ml_collections import ConfigDict

from experiments.studies.front_rivals.growing import METHODS, OVERSHOOT
from experiments.studies.front_rivals.searches import INHERITING
from gpnas.report import Cell, Column, FigureSpec, Panel, Table, edge_labels, stats, style

Records = Sequence[Mapping[str, Any]]
FRONT, WIDTHS = "front", "front's widths"
UNIFORM = "uniform widths"
#: Pairs of an arm and others that are compared with it in a further table.
COMPARED: Mapping[str, Sequence[str]] = {
    "front, six networks": ("uniform as long as six",),
    "front, three times as long": ("uniform three times as long",),
    "growing only": (
        "random growth", "growing with exchange", OVERSHOOT, "widths of growing only",
    ),
    OVERSHOOT: ("uniform as long", "uniform as overshoot"),
}  # fmt: skip
_ONLY_IN_TABLES = (
    "front, 14 epochs", "front, twice as long", "front, six networks", "uniform as long as six",
    "random growth", "growing with exchange", OVERSHOOT, "uniform as overshoot", "Torch-Pruning",
    UNIFORM,
)  # fmt: skip
_SIZE = (520.0, 400.0)
_MARGINS = (58.0, 170.0, 14.0, 46.0)


class Found(NamedTuple):
    """The networks that one arm found with one seed.

    Attributes:
      errors: Test errors in %, by level; a search may have none at a level.
      macs: MACs as fractions of the whole network's, by level.
      flops: Training FLOPs, relative to one dense training.
      retraining: Training FLOPs of retraining the found networks from scratch; 0 if they are not
        retrained.
    """

    errors: Mapping[float, float]
    macs: Mapping[float, float]
    flops: float
    retraining: float

    def hypervolume(self, reference: float) -> float:
        """Returns the dominated hypervolume: points of error times halvings of the MACs.

        Args:
          reference: Error of the reference point; its MACs are the whole network's.
        """
        points = [[self.errors[level], math.log2(self.macs[level])] for level in self.errors]
        return float(moocore.hypervolume(np.array(points), ref=[reference, 0.0]))


Rows = Mapping[str, Mapping[int, Found]]


def found_by_arm(fronts: Mapping[str, Mapping[int, Mapping[str, Any]]], records: Records) -> Rows:
    """Groups results by arm and seed; a search has a row for each budget.

    Args:
      fronts: Records of fronts by row and seed.
      records: Records of the baselines, at the chosen settings.
    """
    dense = next(iter(fronts[FRONT].values()))["train_flops_dense"]
    rows: dict[str, dict[int, Found]] = {
        name: {seed: _found(record, dense) for seed, record in own.items()}
        for name, own in fronts.items()
    }
    for record in records:
        budget = _of_budget(record["budget"]) if record["budget"] else ""
        rows.setdefault(record["arm"] + budget, {})[record["seed"]] = _found(record, dense)
    return rows


def _of_budget(budget: float) -> str:
    return f", {budget:g} ×"


def _found(record: Mapping[str, Any], dense: float) -> Found:
    return Found(
        {one["level"]: one["test_error"] for one in record["networks"]},
        {one["level"]: one["relative_macs"] for one in record["networks"]},
        record["train_flops"] / dense,
        record.get("retrain_flops", 0.0) / dense,
    )


def error_table(rows: Rows, levels: Sequence[float], reference: float) -> Table:
    """Tabulates errors by level, hypervolume and training FLOPs of each arm."""
    columns = [
        Column("networks", numeric=False), Column("seeds"), *_titles(levels),
        Column("hypervolume"), Column("training FLOPs ÷ dense"), Column("and from scratch"),
    ]  # fmt: skip
    cells = [
        [
            Cell(name),
            Cell(str(len(seeds))),
            *(
                Cell(_of_seeds([own.errors.get(level) for own in seeds.values()], len(seeds)))
                for level in levels
            ),
            Cell(_text([own.hypervolume(reference) for own in seeds.values()])),
            Cell(f"{np.mean([own.flops for own in seeds.values()]):.2f}"),
            Cell(f"{np.mean([own.retraining for own in seeds.values()]):.2f}"),
        ]
        for name, seeds in rows.items()
    ]
    note = (
        "Mean ± half the 95 % interval over seeds. Hypervolume: points of error times halvings of"
        f" the MACs, up to {reference:.2f} % (the smallest uniform network of the tuning seeds) and"
        " the whole network's MACs. Training FLOPs: of all networks of a row together, relative to"
        " one dense training as long as the main run of the front; and from scratch: of the"
        " networks that a search found, retrained."
    )
    return Table("Test error in % beside baselines", columns, cells, [note])


def difference_table(rows: Rows, against: str, levels: Sequence[float], reference: float) -> Table:
    """Tabulates how far each arm is above another in error and below it in hypervolume, by seed."""
    columns = [
        Column("networks", numeric=False), Column("seeds"), *_titles(levels), Column("hypervolume"),
    ]  # fmt: skip
    cells, ours = [], rows.get(against, {})
    for name, seeds in rows.items():
        both = sorted(ours.keys() & seeds.keys())
        if name == against or not both:
            continue
        pairs = [(seeds[seed], ours[seed]) for seed in both]
        above = [
            [a.errors[level] - b.errors[level] for a, b in pairs if level in a.errors]
            for level in levels
        ]
        below = [b.hypervolume(reference) - a.hypervolume(reference) for a, b in pairs]
        texts = [_of_seeds(values, len(both)) for values in (*above, below)]
        cells.append([Cell(name), Cell(str(len(both))), *map(Cell, texts)])
    note = (
        f"Errors above those of {against}, in points, and hypervolumes below; with the 95 %"
        " interval. Above zero is worse."
    )
    return Table(f"Against {against}, seed by seed", columns, cells, [note])


def steps_table(records: Records, config: ConfigDict) -> Table | None:
    """Tabulates how many networks the searches trained, and their training steps; None without
    records of searches.

    Args:
      records: Records of the baselines, at the chosen settings.
      config: The study's config.
    """
    rows: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for record in records:
        if record["budget"]:
            rows.setdefault((record["arm"], record["budget"]), []).append(record)
    if not rows:
        return None
    front = config.front.train.epochs + len(config.front.front) * config.front.branch_epochs
    cells = []
    for (arm, budget), own in rows.items():
        epochs = [_epochs(record, config.candidate_epochs) for record in own]
        known = [one / front for one in epochs if one is not None]
        cells.append([
            Cell(arm + _of_budget(budget)),
            Cell(str(len(own))),
            Cell(_range([record["evaluations"] for record in own], "d")),
            Cell(_range(known, ".1f") if len(known) == len(own) else "–"),
        ])  # fmt: skip
    note = (
        "Least and most over seeds. Steps of a front: those of its main run and its branches. A"
        " step of a smaller network takes fewer FLOPs. Early records of LEMONADE lack the steps of"
        " children."
    )
    return Table(
        "Networks that the searches trained",
        [
            Column("search", numeric=False), Column("seeds"), Column("networks"),
            Column("training steps ÷ those of a front"),
        ],
        cells,
        [note],
    )  # fmt: skip


def _epochs(record: Mapping[str, Any], each: float) -> float | None:
    """Returns the epochs of a search in total; None if its record lacks them."""
    missing = None if record["arm"] in INHERITING else each * record["evaluations"]
    return record.get("epochs", missing)


def widths_table(
    fronts: Mapping[int, Mapping[str, Any]], records: Records, levels: Sequence[float]
) -> Table:
    """Tabulates the most frequent widths of the arms that find them in one run.

    Args:
      fronts: Records of the front by seed.
      records: Records of the baselines, at the chosen settings.
      levels: The levels.
    """
    found: dict[str, dict[float, list[str]]] = {}
    named = [(FRONT, record) for record in fronts.values()]
    named += [(record["arm"], record) for record in records if record["arm"] in METHODS]
    for arm, record in named:
        for one in record["networks"]:
            widths = one.get("widths") or one["units"].values()
            text = "-".join(map(str, widths))
            found.setdefault(arm, {}).setdefault(one["level"], []).append(text)
    cells = [
        [Cell(arm), *(Cell(_most_frequent(own.get(level, []))) for level in levels)]
        for arm, own in found.items()
    ]
    note = "The most frequent widths of the four layers, and in how many of the seeds."
    return Table(
        "Widths found", [Column("networks", numeric=False), *_titles(levels)], cells, [note]
    )


def _most_frequent(texts: Sequence[str]) -> str:
    if not texts:
        return "–"
    text, count = collections.Counter(texts).most_common(1)[0]
    return f"{text} ({count} of {len(texts)})"


def _range(values: Sequence[float], style: str) -> str:
    return f"{min(values):{style}} to {max(values):{style}}"


def baselines_figure(rows: Rows, levels: Sequence[float]) -> FigureSpec:
    """Plots mean errors against MACs; for each search, those of its largest budget.

    Variants of an arm that are only in the tables are left out.
    """
    largest = {name.split(", ")[0] if "×" in name else name: name for name in rows}
    rows = {name: rows[name] for name in largest.values() if name not in _ONLY_IN_TABLES}
    searches = {name: seeds for name, seeds in rows.items() if "×" in name}
    others = {name: seeds for name, seeds in rows.items() if name not in (*searches, FRONT, WIDTHS)}
    ours = {name: rows[name] for name in (FRONT, WIDTHS) if name in rows}
    panels = [_panel(ours | beside, levels) for beside in (searches, others) if beside]
    caption = (
        "Mean test error of the networks at each level of MACs, relative to the whole network's:"
        " the front beside searches (left) and beside other baselines (right). Lower left is"
        " better. A number with × is a budget in training FLOPs of one front. Every panel has its"
        " own vertical scale. Further arms are in the tables."
    )
    return FigureSpec("front_rivals", "The front and its baselines", caption, panels, columns=2)


def _panel(rows: Rows, levels: Sequence[float]) -> Panel:
    text = "; ".join(
        f"{name} {_text([own.errors.get(levels[-1]) for own in seeds.values()])}"
        for name, seeds in rows.items()
    )
    said = f"Test error in % at {100 * levels[-1]:g} % of the MACs: {text}."
    return Panel(functools.partial(_draw, rows, levels), said, *_SIZE, _MARGINS)


def _draw(rows: Rows, levels: Sequence[float], ax: Axes) -> None:
    colours = [style.COLOURS[f"c{i}"][0] for i in (1, 0, *range(2, 8))]
    labels = []
    for i, (name, seeds) in enumerate(rows.items()):
        macs, errors = (
            [np.mean([getattr(own, name).get(x, np.nan) for own in seeds.values()]) for x in levels]
            for name in ("macs", "errors")
        )
        turn, colour = i // len(colours), colours[i % len(colours)]
        ax.plot(
            macs, errors, color=colour, lw=2.4 if i == 0 else 1.4, ls=("-", "--")[turn % 2],
            marker="os"[turn % 2], ms=5,
        )  # fmt: skip
        known = [at for at in zip(macs, errors, strict=True) if np.isfinite(at[1])]
        labels.append((*max(known), name, colour))
    ax.set(xscale="log", xlabel="MACs ÷ whole network (log scale)", ylabel="test error, %")
    ax.set_xticks(levels, [f"{100 * level:g} %" for level in levels])
    ax.xaxis.set_minor_locator(NullLocator())
    edge_labels(ax, labels)


def _titles(levels: Sequence[float]) -> list[Column]:
    return [Column(f"{100 * level:g} %") for level in levels]


def _of_seeds(values: Sequence[float | None], seeds: int) -> str:
    """Formats an estimate, with the number of its seeds if these are not all."""
    known = sum(value is not None for value in values)
    return _text(values) + (f" ({known} seeds)" if 1 < known < seeds else "")


def _text(values: Sequence[float | None]) -> str:
    return stats.estimate_text(stats.estimate(values))
