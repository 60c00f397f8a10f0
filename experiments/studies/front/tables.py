"""Errors of a front beside those of its controls, level by level, and differences seed by seed."""

from collections.abc import Mapping, Sequence
from typing import Any

from gpnas.report import Cell, Column, Table, stats

Records = Sequence[Mapping[str, Any]]


def rows_of(records: Records, rates: Mapping[str, float]) -> dict[str, dict[int, Mapping]]:
    """`{row: {seed: {level: test error, "flops": training FLOPs ÷ dense, "wall": seconds}}}`.

    Args:
      records: Of the study's seeds.
      rates: As chosen on the tuning seeds, see `run.chosen_rates`.
    """
    kinds = {"networks": "", "retrained": ", from scratch", "uniform": ""}
    found: dict[str, dict[int, Mapping]] = {}
    for record in records:
        for kind, suffix in kinds.items():
            wanted = rates["uniform" if kind == "uniform" else "networks"]
            if record["rate"] != wanted or not record[kind]:
                continue
            arm = "uniform widths" if kind == "uniform" else record["arm"] + suffix
            networks = record[kind]
            spent = [record] if kind == "networks" else networks
            found.setdefault(arm, {})[record["seed"]] = {
                **{one["level"]: one["test_error"] for one in networks},
                "flops": sum(one["train_flops"] for one in spent) / record["train_flops_dense"],
                "wall": sum(one["wall_s"] for one in spent),
            }
    return found


def front_tables(records: Records, rates: Mapping[str, float], levels: Sequence[float]) -> list:
    """The errors of each row, and how far each is above the front's."""
    rows = rows_of(records, rates)
    levels = (1.0, *levels)
    titles = [f"{100 * level:g} %" for level in levels]
    errors = Table(
        "Test error in % at levels of the whole network's MACs",
        [
            Column("networks", numeric=False),
            Column("seeds"),
            *map(Column, titles),
            Column("training FLOPs ÷ dense"),
            Column("wall s"),
        ],
        [
            [
                Cell(name),
                Cell(str(len(seeds))),
                *(Cell(_mean([own.get(level) for own in seeds.values()])) for level in levels),
                Cell(f"{_average(seeds, 'flops'):.2f}"),
                Cell(f"{_average(seeds, 'wall'):.0f}"),
            ]
            for name, seeds in rows.items()
        ],
        [
            "Mean ± half the 95 % interval over seeds. Training FLOPs: of all the networks of a row"
            " together, relative to one dense training as long as the main run. Wall: of the same"
            " networks, on two CPU cores that did other things, too. Rates by validation"
            f" error on other seeds: {rates['networks']:g} for fronts, {rates['uniform']:g} for"
            " uniform widths."
        ],
    )
    differences = Table(
        "Test error above that of the front, seed by seed",
        [Column("networks", numeric=False), Column("seeds"), *map(Column, titles[1:])],
        [
            [Cell(name), Cell(str(len(both))), *(Cell(_mean(values)) for values in by_level)]
            for name, both, by_level in _differences(rows, levels[1:])
        ],
        ["In points, with the 95 % interval; above zero, the front is better."],
    )
    return [errors, differences]


def _differences(rows: Mapping[str, Mapping[int, Mapping]], levels: Sequence[float]) -> list:
    ours, found = rows.get("front", {}), []
    for name, seeds in rows.items():
        both = sorted(ours.keys() & seeds.keys())
        if name not in ("front", "dense") and both:
            found.append((name, both, [[seeds[s][x] - ours[s][x] for s in both] for x in levels]))
    return found


def _average(seeds: Mapping[int, Mapping], field: str) -> float:
    return sum(own[field] for own in seeds.values()) / len(seeds)


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return stats.estimate_text(stats.estimate(known)) if known else "–"
