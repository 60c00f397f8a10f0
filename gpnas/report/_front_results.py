"""Fronts of networks from one run: means over seeds, their table and their cost."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpnas.report import formatting, stats
from gpnas.report._groups import Series
from gpnas.report._metric import TaskMetric
from gpnas.report._read_front import Front
from gpnas.report._table import Cell, Column, Table, number_cell

_SPEED_UP = "One thread; in parentheses or below: speed-up over the whole network"
BATCHES = (1, 64)  # batch sizes whose single-thread latency is shown
FOUND = Series("", "front", "", "found", 1, 0)
UNIFORM = Series("", "uniform", "", "uniform", 0, 0)
RETRAINED = Series("", "retrained", "", "retrained", 2, 0)
#: Sizes of networks, as columns of a table and as axes.
SIZES = {"macs": "MACs", "params": "parameters"}
_LEVELS = {  # what a level is, by `front_by`
    "macs": "relative to the whole network's MACs",
    "params": "relative to the whole network's parameters",
    "flops": "relative to the whole network's FLOPs",
    "latency_ms": "the sum of its layers' latencies",
}
_KINDS = (("networks", FOUND), ("retrained", RETRAINED), ("uniform", UNIFORM))


@dataclasses.dataclass(frozen=True, eq=False)
class FrontNetwork:
    """A network of a front, over seeds.

    Attributes:
      series: `FOUND`; `RETRAINED` from scratch; or `UNIFORM`, with uniformly scaled widths.
      level: Cost budget: a fraction of the whole network's cost, or milliseconds.
      name: The level as text: `12.5 %`.
      rows: Its entries in front.json, one per seed.
      latency: `(batch size, threads) → ms`, one per seed.
      files: Formats and paths of the first seed's files.
    """

    series: Series
    level: float
    name: str
    rows: Sequence[Mapping[str, Any]]
    latency: Sequence[Mapping[tuple[int, int], float]]
    files: Sequence[tuple[str, Path]]

    def estimate(self, quantity: str, metric: TaskMetric) -> stats.Estimate | None:
        """Returns mean and interval of "test", "val", "ms1", …, or a field, over the seeds."""
        if quantity.startswith("ms"):
            return stats.estimate(own.get((int(quantity[2:]), 1)) for own in self.latency)
        field = f"{quantity}_{metric.name}" if quantity in ("test", "val") else quantity
        return stats.estimate(formatting.number(row, field) for row in self.rows)

    def mean(self, quantity: str, metric: TaskMetric) -> float | None:
        """Returns the mean of such a quantity over seeds, or None."""
        found = self.estimate(quantity, metric)
        return None if found is None else found.mean


def level_text(front: Front, level: float, unit: bool = True) -> str:
    """Returns a cost level as text with non-breaking spaces: `12.5 %`, or `2 ms`."""
    in_ms = _front_by(front) == "latency_ms"
    text = formatting.significant(level if in_ms else 100 * level)
    return f"{text}\N{NO-BREAK SPACE}{'ms' if in_ms else '%'}" if unit else text


def _front_by(front: Front) -> str:
    return str(formatting.dig(front.record, "config", "front_by") or "macs")


def size_of(fronts: Sequence[Front]) -> str:
    """Returns the size that is closest to the cost of a front: "params" or "macs"."""
    return "params" if _front_by(fronts[0]) == "params" else "macs"


def level_meaning(fronts: Sequence[Front]) -> str:
    """Describes the levels of a front: `relative to the whole network's MACs`."""
    return _LEVELS.get(_front_by(fronts[0]), "")


def members(fronts: Sequence[Front]) -> list[FrontNetwork]:
    """Groups the networks of fronts that differ in the seed only: found ones first, by level."""
    found = []
    for kind, series in _KINDS:
        for row in fronts[0].networks(kind):
            folder, level = str(row.get("folder")), formatting.number(row, "level")
            rows = [
                own
                for front in fronts
                for own in front.networks(kind)
                if own.get("folder") == folder
            ]
            latency = [front.latency.get(folder, {}) for front in fronts]
            files = fronts[0].files.get(folder, ())
            name = level_text(fronts[0], level or 0.0)
            found.append(FrontNetwork(series, level or 0.0, name, rows, latency, files))
    return found


def full_network(fronts: Sequence[Front]) -> FrontNetwork:
    """Returns the whole network: size, latency, and its metric if it was trained to the end."""
    rows = [_whole(front) for front in fronts]
    latency = [front.latency.get("main", {}) for front in fronts]
    return FrontNetwork(FOUND, 1.0, "", rows, latency, ())


def _whole(front: Front) -> Mapping[str, Any]:
    own = _mapping(front.record.get("whole"))
    networks = [row for kind, _ in _KINDS for row in front.networks(kind)]
    trained = [row for row in networks if own and row.get("units") == own.get("units")]
    return {**(trained or [{}])[0], **own, "train_flops": None}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def title(fronts: Sequence[Front]) -> str:
    """Returns the title of a front: `convnet on digits`."""
    model = formatting.dig(fronts[0].record, "config", "model", "name")
    return formatting.shorten(f"{model} on {fronts[0].record.get('dataset')}", 80)


def summary_text(fronts: Sequence[Front]) -> str:
    """Describes the training in two sentences."""
    whole_macs = full_network(fronts).mean("macs", fronts[0].metric)
    count = formatting.plural(len(fronts[0].networks("networks")), "network")
    runs = "one training run" if len(fronts) == 1 else f"each of {len(fronts)} training runs"
    return (
        f"{count} from {runs}: a {title(fronts)}, {formatting.si(whole_macs)} MACs, pruned by"
        f" the units' effect on the loss per cost. {cost_sentence(fronts)}"
    )


def front_table(fronts: Sequence[Front]) -> Table:
    """Returns the table of a front: the whole network, found networks, uniformly scaled ones."""
    metric, rows = fronts[0].metric, members(fronts)
    timed = [b for b in BATCHES if full_network(fronts).mean(f"ms{b}", metric) is not None]
    linked = any(row.files for row in rows)
    columns = [
        Column("network", numeric=False, help=f"Cost level, {level_meaning(fronts)}"),
        *_size_columns(size_of(fronts)),
        Column(f"test {metric.label}", help="At the last step"),
        Column(f"validation {metric.label}", help="At the last step"),
        *(Column(f"ms, batch\N{NO-BREAK SPACE}{b}", help=_SPEED_UP) for b in timed),
        Column("widths", numeric=False, help="Active units of each layer"),
        Column("training FLOPs", help="Of found networks: of the branch, without the main run"),
        *([Column("files", numeric=False)] if linked else []),
    ]
    body = [[Cell("whole network", "whole network"), *_cells(full_network(fronts), fronts, timed)]]
    body += [[_named(row, rows), *_cells(row, fronts, timed)] for row in rows]
    if linked:
        files = [Cell(formatting.MISSING), *(Cell("", links=tuple(row.files)) for row in rows)]
        body = [[*line, cell] for line, cell in zip(body, files, strict=True)]
    sentences = (cost_sentence(fronts), _uniform_sentence(fronts), _flops_sentence(fronts))
    notes = [sentence for sentence in sentences if sentence]
    if len(fronts) == 1:
        notes.append("One seed: the differences between networks are preliminary.")
    else:
        notes.append(
            f"Means over {len(fronts)} seeds ± half the 95 % interval; widths and files are those"
            f" of seed {fronts[0].record.get('seed')}, whose MACs can differ from the mean."
        )
    notes += _latency_notes(fronts, rows, timed)
    return Table(f"Networks from one run: {title(fronts)}", columns, body, notes)


def _latency_notes(
    fronts: Sequence[Front], rows: Sequence[FrontNetwork], timed: Sequence[int]
) -> list[str]:
    """Describes the latencies of the table, and why a small network may be slow."""
    if not timed:
        return []
    notes = [
        f"Milliseconds: the shortest call of the {fronts[0].format} file, on this machine."
        f" {_SPEED_UP}."
    ]
    whole, metric = full_network(fronts), fronts[0].metric
    found = [row for row in rows if row.series is FOUND]
    if any(
        (row.mean(f"ms{batch}", metric) or 0.0) > (whole.mean(f"ms{batch}", metric) or 0.0)
        for row in found
        for batch in timed
    ):
        notes.append(
            "Some networks are slower than the whole one. Runtimes compute channels in blocks: a"
            " method.round_to of 8 or 16 keeps the widths at multiples of it."
        )
    return notes


def _size_columns(relative: str) -> list[Column]:
    found = []
    for size, name in SIZES.items():
        found.append(Column(name, help="Per example" if size == "macs" else ""))
        if size == relative:
            help_text = f"{name} as a fraction of the whole network's"
            found.append(Column("of the whole", help=help_text))
    return found


def _size_cells(row: FrontNetwork, fronts: Sequence[Front]) -> list[Cell]:
    metric, cells = fronts[0].metric, []
    for size in SIZES:
        own, whole = (one.mean(size, metric) for one in (row, full_network(fronts)))
        cells.append(number_cell(own, formatting.count_text))
        if size == size_of(fronts):
            fraction = own / whole if own and whole else None
            cells.append(number_cell(fraction, formatting.percent_text))
    return cells


def _named(row: FrontNetwork, rows: Sequence[FrontNetwork]) -> Cell:
    if all(other.series is FOUND for other in rows):
        return Cell(row.name, row.level)
    return Cell(f"{row.series.label},\N{NO-BREAK SPACE}{row.name}", row.level, row.series)


def _cells(row: FrontNetwork, fronts: Sequence[Front], timed: Sequence[int]) -> list[Cell]:
    metric = fronts[0].metric
    cells = _size_cells(row, fronts)
    for quantity in ("test", "val"):
        found = row.estimate(quantity, metric)
        cells.append(Cell(metric.interval(found), None if found is None else found.mean))
    for batch in timed:
        ms, reference = (one.mean(f"ms{batch}", metric) for one in (row, full_network(fronts)))
        faster = f"{reference / ms:.2f}" if ms and reference and row.files else ""
        cells.append(Cell(formatting.digits(ms), ms, detail=faster))
    cells.append(Cell(_widths(row)))
    return [*cells, number_cell(row.mean("train_flops", metric), formatting.si)]


def _widths(row: FrontNetwork, most: int = 60) -> str:
    counts = row.rows[0].get("units") if row.rows else None
    texts = [formatting.count_text(formatting.as_number(n)) for n in _mapping(counts).values()]
    return formatting.shorten("-".join(texts), most) or formatting.MISSING


def cost_sentence(fronts: Sequence[Front]) -> str:
    """Returns the cost of all networks of a front relative to one dense training run."""
    totals = {
        field: stats.estimate(formatting.number(front.record, field) for front in fronts)
        for field in ("train_flops", "train_flops_dense", "wall_s")
    }
    own, dense, wall = (None if e is None else e.mean for e in totals.values())
    count = len(fronts[0].networks("networks"))
    epochs = formatting.number(fronts[0].record, "config", "train", "epochs")
    if not own or not dense or not wall:
        return ""
    return (
        f"Training {f'these {count} networks' if count > 1 else 'the network'} took"
        f" {formatting.digits(own / dense)} times the FLOPs of one dense run of the whole network,"
        f" as long as the main run ({formatting.plural(round(epochs or 0), 'epoch')}), and"
        f" {duration(wall)}."
    )


def _flops_sentence(fronts: Sequence[Front]) -> str:
    """Describes the training FLOPs of the table, which lack those of the main run."""
    metric = fronts[0].metric
    total, dense = (
        stats.estimate(formatting.number(front.record, field) for front in fronts)
        for field in ("train_flops", "train_flops_dense")
    )
    branches = [row.mean("train_flops", metric) for row in members(fronts) if row.series is FOUND]
    if total is None or dense is None:
        return ""
    main = total.mean - sum(own or 0.0 for own in branches)
    return (
        "Training FLOPs of a found network are those of its branch. The main run, which all share,"
        f" took {formatting.si(main)}; one dense run takes {formatting.si(dense.mean)}."
    )


def _uniform_sentence(fronts: Sequence[Front]) -> str:
    flops = [
        row.mean("train_flops", fronts[0].metric)
        for row in members(fronts)
        if row.series is UNIFORM
    ]
    dense = stats.estimate(formatting.number(front.record, "train_flops_dense") for front in fronts)
    if not flops or None in flops or not dense or not dense.mean:
        return ""
    total = formatting.digits(sum(own or 0.0 for own in flops) / dense.mean)
    return (
        f"Training the uniform networks, each on its own, took {total} times the FLOPs of the"
        " dense run."
    )


def duration(seconds: float) -> str:
    """Returns a time as text with non-breaking spaces: `42 s`, `3 min 20 s`, `2 h 5 min`."""
    space, whole_s = "\N{NO-BREAK SPACE}", round(seconds)
    for size, name, below, part in ((3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole_s >= size:
            rest = whole_s % size // below
            smaller = f"{space}{rest}{space}{part}" if rest else ""
            return f"{whole_s // size}{space}{name}{smaller}"
    return f"{formatting.significant(seconds, 2)}{space}s"
