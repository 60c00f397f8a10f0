"""Tables of mask updates: survival, the relation of V to it, layers, and retrained masks."""

from collections.abc import Iterable, Mapping, Sequence

from experiments.studies.coupling_mechanism.fields import RINGS
from experiments.studies.densities import Record, by_seed
from gpnas.report import Cell, Column, Table, stats

#: Columns of `retrained` in a record, in order.
RETRAINED = ("initial weights", "new weights", "shuffled mask")


def survival_table(records: Sequence[Record], ages: Sequence[int]) -> Table:
    """Tabulates the fraction of grown weights that stay active, by arm and age."""
    names = [*map(str, ages), "end"]
    columns = [
        Column("arm", numeric=False),
        *(Column(age if age == "end" else f"age {age}") for age in names),
        Column("ever active"),
        Column("seeds"),
    ]
    rows = []
    for arm, own in _by_arm(records).items():
        cells = [_percent(r["survival"].get(age) for r in own) for age in names]
        ever = _percent(r["ever_active"] for r in own)
        rows.append([*map(Cell, (arm, *cells, ever, str(len(own))))])
    note = (
        "% of the weights grown in mask updates that are active without a break, by age in further"
        " mask updates, and until the last; % of all weights that are active at any time. Mean ±"
        " half the 95 % interval over seeds; – where no weight is grown."
    )
    return Table("Survival of grown weights", columns, rows, [note])


def gain_table(records: Sequence[Record], age: int) -> Table:
    """Tabulates the relation of V to survival and to U."""
    found = [record for record in records if "gain" in record]
    columns = [Column("development", numeric=False), Column("mean"), Column("seeds")]
    labels = {
        "high": "survival of the quarter with the highest V, %",
        "low": "survival of the quarter with the lowest V, %",
    }
    rows = [
        [*map(Cell, (text, _percent(r["gain"][key] for r in found), str(len(found))))]
        for key, text in labels.items()
    ]
    rank = stats.estimate(record["gain"]["correlation"] for record in found)
    text = "rank correlation of V and U among survivors"
    rows.append([Cell(text), Cell(stats.estimate_text(rank)), Cell(str(len(found)))])
    note = (
        f"V of weights when they are grown, survival and U {age} mask updates later; within each"
        " mask update, averaged by the number of grown weights."
    )
    return Table("V of grown weights and their fate", columns, rows, [note])


def layer_table(records: Sequence[Record]) -> Table:
    """Tabulates the final density of each layer."""
    paths = list(records[0]["layers"]) if records else []
    columns = [Column("arm", numeric=False), *(Column(path) for path in paths)]
    rows = [
        [
            Cell(arm),
            *(Cell(_percent(r["layers"][path] for r in own)) for path in paths),
        ]
        for arm, own in _by_arm(records).items()
    ]
    note = "% of the weights active in the end, mean ± half the 95 % interval over seeds."
    return Table("Final density by layer", columns, rows, [note])


def field_table(records: Sequence[Record]) -> Table:
    """Tabulates the pixels that the final networks read, and how near those of a unit are."""
    columns = [
        Column("arm", numeric=False),
        Column("pixels read, %"),
        *(Column(f"weights per pixel, {ring}") for ring in RINGS),
        Column("distance in a unit"),
        Column("minus shuffled"),
        Column("seeds"),
    ]
    rows = []
    for arm, own in _by_arm([r for r in records if "fields" in r]).items():
        fields = [record["fields"] for record in own]
        gap = stats.estimate(field["distance"] - field["shuffled"] for field in fields)
        cells = [
            arm,
            _percent(field["pixels"] for field in fields),
            *(_plain(field["rings"][ring] for field in fields) for ring in RINGS),
            _plain(field["distance"] for field in fields),
            stats.interval_text(gap, sign="+"),
            str(len(own)),
        ]
        rows.append([*map(Cell, cells)])
    note = (
        "Final masks of the first layer. Rings by distance from the centre of the image: up to a"
        " quarter of its side, up to a half, and beyond. Distance between two pixels that a hidden"
        " unit reads, in pixels; and its difference to the expected one if the active weights of"
        " each pixel belong to random units. Mean ± half the 95 % interval over seeds."
    )
    return Table("Receptive fields", columns, rows, [note])


def retrained_table(records: Sequence[Record]) -> Table:
    """Tabulates the validation error of final masks that are trained again."""
    columns = [
        Column("arm", numeric=False),
        Column("as trained"),
        *(Column(name) for name in RETRAINED),
        Column("seeds"),
    ]
    rows = []
    for arm, own in _by_arm([r for r in records if "retrained" in r]).items():
        before = by_seed(own, lambda r: r["val_error"])
        cells = [stats.estimate_text(stats.estimate(before.values()))]
        for name in RETRAINED:
            after = {record["seed"]: record["retrained"][name] for record in own}
            cells.append(stats.interval_text(stats.paired_difference(after, before), sign="+"))
        rows.append([*map(Cell, (arm, *cells, str(len(own))))])
    note = (
        "Validation error in % of the trained network; then how much higher it is, in points paired"
        " by seed, if the final mask is trained from the start of training: from the run's own"
        " initial weights, from new ones, and from its own with the mask shuffled within layers."
    )
    return Table("The final mask trained again", columns, rows, [note])


def _by_arm(records: Sequence[Record]) -> Mapping[str, list[Record]]:
    arms = dict.fromkeys(record["arm"] for record in records)
    return {arm: [record for record in records if record["arm"] == arm] for arm in arms}


def _plain(values: Iterable[float]) -> str:
    return stats.interval_text(stats.estimate(values))


def _percent(fractions: Iterable[float | None]) -> str:
    shares = [None if fraction is None else 100 * fraction for fraction in fractions]
    return stats.interval_text(stats.estimate(shares), 1)
