"""Tables of the last section of a report: costs, layers, configs, provenance."""

from collections.abc import Iterable

from gpnas.report import formatting, stats
from gpnas.report._groups import Summary
from gpnas.report._results import MAX_ROWS, SAVES_NOTHING
from gpnas.report._summarise import config_differences
from gpnas.report._table import Cell, Column, Table, group_cell, number_cell

MAX_LAYER_ROWS = 400


def cost_table(summary: Summary) -> Table:
    """Returns sizes and costs next to those of the dense network."""
    columns = [
        Column("arm", numeric=False),
        Column("parameters", help="All parameters of the dense network"),
        Column("non-zeros"),
        Column("with biases", help="Non-zeros and biases"),
        Column("inference MACs"),
        Column("MACs, dense", help="Inference MACs of the dense network"),
        Column("training FLOPs"),
        Column("FLOPs, dense", help="Training FLOPs of the dense network"),
    ]
    shown = (
        *((name, formatting.count_text) for name in ("params", "nonzeros", "nonzeros_with_bias")),
        *((name, formatting.si) for name in ("macs", "macs_dense", "flops", "flops_dense")),
    )
    rows = [
        [group_cell(group), *(number_cell(group.mean(name), form) for name, form in shown)]
        for group in summary.groups[:MAX_ROWS]
    ]
    return Table("Size and cost, means over seeds", columns, rows, [SAVES_NOTHING])


def layer_table(summary: Summary) -> Table | None:
    """Returns the active weights and units of each layer, averaged over seeds."""
    rows: list[list[Cell]] = []
    total = 0
    for group in summary.groups:
        layers: dict[str, list[dict[str, object]]] = {}
        for run in group.runs:
            for layer in formatting.items(run.record, "layers"):
                layers.setdefault(str(layer.get("path", formatting.MISSING)), []).append(
                    dict(layer)
                )
        for path, seen in layers.items():
            total += 1
            if len(rows) == MAX_LAYER_ROWS:
                continue
            means = {
                name: stats.estimate(formatting.number(layer, name) for layer in seen)
                for name in ("nonzeros", "dead_in", "dead_out")
            }
            live, dead_in, dead_out = (e.mean if e else None for e in means.values())
            shape = seen[0].get("shape")
            sides = shape if isinstance(shape, list) else []
            size = 1.0
            for side in sides:
                size *= formatting.as_number(side) or 0
            text = formatting.shorten(" × ".join(map(formatting.leaf, sides)), 60)
            share = live / size if live is not None and sides and size else None
            rows.append(
                [
                    group_cell(group),
                    Cell(formatting.shorten(path, 100), path),
                    Cell(text or formatting.MISSING, size),
                    number_cell(live, formatting.count_text),
                    number_cell(share, formatting.percent_text),
                    number_cell(dead_in, formatting.few),
                    number_cell(dead_out, formatting.few),
                ]
            )
    if not rows:
        return None
    columns = [
        Column("arm", numeric=False),
        Column("layer", numeric=False),
        Column("shape"),
        Column("non-zeros"),
        Column("remaining"),
        Column("dead inputs", help="Inputs of the layer with no active outgoing weight"),
        Column("dead outputs", help="Units of the layer with no active incoming weight"),
    ]
    notes = [f"{total - len(rows):,} more rows are not shown."] if total > len(rows) else []
    return Table("Layers, means over seeds", columns, rows, notes)


def config_table(summary: Summary) -> Table | None:
    """Returns the config fields in which arms differ."""
    differences = config_differences(summary)
    shown = [s for s in summary.series if summary.of(s)][:12]
    rows = [
        [
            Cell(formatting.shorten(field, 100), field),
            *(
                Cell(formatting.shorten(", ".join(row.get(s, [formatting.MISSING])), 60))
                for s in shown
            ),
        ]
        for field, row in list(differences.items())[:200]
    ]
    if not rows or not shown:
        return None
    columns = [Column("field", numeric=False), *(Column(s.label, numeric=False) for s in shown)]
    return Table("Config fields that differ", columns, rows, sortable=False)


def provenance_table(summary: Summary) -> Table | None:
    """Returns revisions, versions, machines and data of the finished runs."""
    seen: dict[str, dict[str, int]] = {}
    for run in summary.finished:
        for field in ("git", "machine", "dataset", "dataset_sha256", "versions"):
            for key, value in formatting.flatten(formatting.dig(run.record, field), field).items():
                counts = seen.setdefault(key, {})
                counts[value] = counts.get(value, 0) + 1
    rows = [
        [Cell(formatting.shorten(key, 100), key), Cell(_values(counts.items(), len(counts) > 1))]
        for key, counts in list(seen.items())[:200]
    ]
    if not rows:
        return None
    columns = [Column("field", numeric=False), Column("value", numeric=False)]
    return Table("Provenance", columns, rows, sortable=False)


def _values(counts: Iterable[tuple[str, int]], several: bool) -> str:
    parts = [
        f"{formatting.shorten(value, 100)}"
        + (f" ({formatting.plural(n, 'run')})" if several else "")
        for value, n in counts
    ]
    return "; ".join(parts[:8]) + ("; …" if len(parts) > 8 else "")
