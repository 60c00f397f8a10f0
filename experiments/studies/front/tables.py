"""Errors of a front and its controls by level, and paired differences over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from gpnas.report import Cell, Column, Table, stats

Records = Sequence[Mapping[str, Any]]
_SHORT = ("front", "uniform widths")


def errors_by_arm(records: Records, rates: Mapping[str, float]) -> dict[str, dict[int, Mapping]]:
    """Returns `{row: {seed: {level: test error, "flops": training FLOPs ÷ dense, "wall":
    seconds}}}`.

    Args:
      records: Records of the study's seeds.
      rates: Rates chosen on the tuning seeds (`run.chosen_rates`).
    """
    kinds = {"networks": "", "retrained": ", from scratch", "uniform": ""}
    dense = next(r["train_flops_dense"] for r in records if r["arm"] == "front")
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
                "flops": sum(one["train_flops"] for one in spent) / dense,
                "wall": sum(one["wall_s"] for one in spent),
            }
    return found


def front_tables(records: Records, rates: Mapping[str, float], levels: Sequence[float]) -> list:
    """Returns the errors of each row, and how far each is above the front's."""
    rows = errors_by_arm(records, rates)
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
            " together, relative to one dense training as long as the front's main run. Wall"
            " time: of the same networks, on two CPU cores under other load. Rates by validation"
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


def rate_table(
    records: Records, rates: Mapping[str, float], levels: Sequence[float]
) -> Table | None:
    """Tabulates the front at the learning rate of uniform widths; None without such records.

    Args:
      records: Records of the study's seeds.
      rates: Rates chosen on the tuning seeds (`run.chosen_rates`).
      levels: The levels.
    """
    other, chosen = rates["uniform"], rates["networks"]
    rows = errors_by_arm(records, {"networks": other, "uniform": other})
    if other == chosen or "front" not in rows:
        return None
    name = f"front at {other:g}"
    both = {"front": errors_by_arm(records, rates)["front"], name: rows["front"]}
    uniform = {"front": rows["front"], "uniform widths": rows.get("uniform widths", {})}
    lines: list[tuple[str, Sequence[Sequence[float | None]]]] = [
        (name, [[own.get(x) for own in rows["front"].values()] for x in levels]),
        *((f"above front at {chosen:g}", x[2]) for x in _differences(both, levels)),
        *((f"uniform widths, above {name}", x[2]) for x in _differences(uniform, levels)),
    ]
    return Table(
        f"Test error in % of the front at the learning rate {other:g}",
        [Column("", numeric=False), *(Column(f"{100 * level:g} %") for level in levels)],
        [[Cell(name), *map(Cell, map(_mean, values))] for name, values in lines],
        [f"Mean ± half the 95 % interval over {len(rows['front'])} seeds; differences in points."],
    )


def short_table(records: Records, rates: Mapping[str, float], levels: Sequence[float]) -> Table:
    """Tabulates by level the errors of the front and of uniform widths, and the networks found."""
    rows = errors_by_arm(records, rates)
    first = next(r for r in records if r["arm"] == "front" and r["rate"] == rates["networks"])
    differences = {name: by_level for name, _, by_level in _differences(rows, levels)}
    lines = [
        [
            Cell(f"{100 * level:g} %"),
            *(Cell(_mean([own.get(level) for own in rows[name].values()])) for name in _SHORT),
            Cell(_mean(differences["uniform widths"][i])),
            Cell("-".join(str(n) for n in network["units"].values())),
        ]
        for i, (level, network) in enumerate(zip(levels, first["networks"], strict=True))
    ]
    names = (
        "one run, error %", "uniform widths, error %", "uniform − one run, points",
        "widths found (one seed)",
    )  # fmt: skip
    whole = "-".join(str(n) for n in first["whole"]["units"].values())
    return Table(
        "One training run, four networks: test error by MACs",
        [Column("MACs", numeric=False), *map(Column, names)],
        lines,
        [
            f"Fashion-MNIST at 14 × 14 pixels; the whole network has widths {whole}. Mean ± half"
            f" the 95 % interval over {len(rows['front'])} seeds. Training all four networks of a"
            f" run took {_average(rows['front'], 'flops'):.2f} times the FLOPs of one dense"
            " training as long as the main run. The whole network, trained as long as the main run"
            f" and a branch, has an error of {_whole_error(rows)}. Networks of uniformly scaled"
            " widths were trained from scratch with equal FLOPs and a learning rate of their own."
        ],
    )


def _whole_error(rows: Mapping[str, Mapping[int, Mapping]]) -> str:
    return f"{_mean([own[1.0] for own in rows['dense'].values()])} %"


def latency_table(records: Records) -> Table | None:
    """Tabulates the reduction of MACs and the speed-up of the exported files."""
    if not records:
        return None
    arms: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        for folder in record["macs"]:
            arms.setdefault((record["arm"], folder), []).append(record)
    settings = [(batch, threads) for threads in (1, 2) for batch in (1, 64)]
    lines = [
        [
            Cell(f"{arm}, {100 * float(folder.partition('-')[2]):g} %"),
            Cell(str(len(own))),
            Cell(_mean([1 / record["macs"][folder] for record in own])),
            *(Cell(_mean([_speedup(r, folder, *each) for r in own])) for each in settings),
        ]
        for (arm, folder), own in arms.items()
    ]
    titles = [f"batch {b}, {t} thread{'s' if t > 1 else ''}" for b, t in settings]
    return Table(
        "MACs of the whole network ÷ those of the network, and time of the whole ÷ its time",
        [Column("networks", numeric=False), *map(Column, ("seeds", "MACs", *titles))],
        lines,
        [
            "Shortest call of the ONNX file in onnxruntime, all networks of a front in turns, on"
            " two CPU cores, under other load but for multiples of 8."
        ],
    )


def _speedup(record: Mapping[str, Any], folder: str, batch: int, threads: int) -> float:
    (line,) = (
        one
        for one in record["networks"][folder]
        if (one["batch"], one["threads"]) == (batch, threads)
    )
    return line["speedup"]


def _differences(
    rows: Mapping[str, Mapping[int, Mapping]], levels: Sequence[float]
) -> list[tuple[str, list[int], list[list[float]]]]:
    """Returns `(row, seeds, errors above those of the front by level and seed)`."""
    ours, found = rows.get("front", {}), []
    for name, seeds in rows.items():
        both = sorted(ours.keys() & seeds.keys())
        by_level = [
            [seeds[s][x] - ours[s][x] for s in both if x in seeds[s] and x in ours[s]]
            for x in levels
        ]
        if name != "front" and both and any(by_level):
            found.append((name, both, by_level))
    return found


def _average(seeds: Mapping[int, Mapping], field: str) -> float:
    return sum(own[field] for own in seeds.values()) / len(seeds)


def _mean(values: Sequence[float | None] | Sequence[float]) -> str:
    known = [value for value in values if value is not None]
    return stats.estimate_text(stats.estimate(known)) if known else "–"
