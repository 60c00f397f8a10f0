"""Arms at several densities: a table of errors, and claims about gradual pruning."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpnas.report import Cell, Column, Table, stats

Record = Mapping[str, Any]


def density_table(caption: str, records: Sequence[Record]) -> Table:
    """Returns one row per arm and one column per requested density, with differing actual
    densities.

    The settings of an arm without a `method.density` (penalties, for example) fill the columns in
    the order of their actual densities.

    Args:
      caption: Caption of the table.
      records: Records of a study, some of whose arms have a `method.density`.
    """
    asked = densities_asked(records)
    rows: list[list[Cell]] = []
    for arm in dict.fromkeys(record["arm"] for record in records):
        own = [record for record in records if record["arm"] == arm]
        groups: list[tuple[float | None, list[Record]]]
        groups = [(density, at_density(own, density)) for density in asked]
        if all(density_asked(record) is None for record in own):
            groups = [(None, group) for group in settings(own)]
        rows.append([Cell(arm), *(_cell(density, same) for density, same in groups)])
    width = max(len(asked) + 1, *map(len, rows), 1)
    titles = [f"{100 * density:g} %" for density in asked]
    titles += ["further price"] * (width - 1 - len(titles))
    columns = [Column("arm", numeric=False), *map(Column, titles)]
    rows = [[*row, *[Cell("–")] * (width - len(row))] for row in rows]
    note = (
        "Test error in % at the last step, mean ± half the 95 % interval over seeds, by the"
        " requested density; in parentheses the density where pruning ended earlier, or that"
        " resulted from a penalty."
    )
    return Table(caption, columns, rows, [note])


def settings(records: Sequence[Record]) -> list[list[Record]]:
    """Groups one arm's records by the fields of its method, the densest first."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        fields = json.dumps(record["config"]["method"], sort_keys=True)
        groups.setdefault(fields, []).append(record)
    return sorted(groups.values(), key=lambda group: -mean(group, density_reached))


def gradual_table(records: Sequence[Record], gradual: str, one_shot: str) -> Table:
    """Tests PSP-entropy's claims: gradual against one-shot pruning at equal density.

    Args:
      records: Records with `analysis` of "psp_entropy" and "top_eigenvalue".
      gradual, one_shot: The two arms.

    References:
      Tartaglione, Bragagnolo & Grangetto 2020 (arXiv:2004.14765), section 4.
    """
    columns = [
        Column("density"),
        Column("error %, gradual minus one-shot"),
        Column("entropy of states, bits: gradual"),
        Column("one-shot"),
        Column("top Hessian eigenvalue: gradual"),
        Column("one-shot"),
    ]
    rows = []
    ours, theirs = ([r for r in records if r["arm"] == arm] for arm in (gradual, one_shot))
    for density in densities_asked(ours):
        pairs = reached_pairs(at_density(ours, density), theirs)
        gap = stats.estimate(error(a) - error(b) for a, b in pairs)
        cells = [plain(gap, "+.2f")]
        for measure in (entropy, sharpness):
            cells += [plain(stats.estimate(map(measure, own)), ".3g") for own in _sides(pairs)]
        seeds = f"{len(pairs)} seed{'s' if len(pairs) != 1 else ''}"
        rows.append([Cell(f"{100 * density:g} %", detail=seeds), *map(Cell, cells)])
    note = (
        "In parentheses: the seeds with which both reached the density (to a tenth); others are"
        " excluded."
    )
    return Table(f"{gradual} against {one_shot} pruning", columns, rows, [note])


def reached_pairs(ours: Sequence[Record], theirs: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Returns pairs of equal seed and requested density whose actual densities agree within a
    tenth."""
    other = {(density_asked(record), record["seed"]): record for record in theirs}
    pairs = [(r, other.get((density_asked(r), r["seed"]))) for r in ours]
    return [(a, b) for a, b in pairs if b is not None and _alike(*map(density_reached, (a, b)))]


def _alike(a: float, b: float) -> bool:
    return abs(a - b) <= 0.1 * max(a, b)


def _sides(pairs: Sequence[tuple[Record, Record]]) -> tuple[list[Record], list[Record]]:
    return [a for a, _ in pairs], [b for _, b in pairs]


def mean(records: Sequence[Record], f: Callable[[Record], float]) -> float:
    """Averages a measure over one or more records."""
    return sum(map(f, records)) / len(records)


def by_seed(records: Sequence[Record], f: Callable[[Record], float]) -> dict[int, float | None]:
    """Returns a measure by seed, for `paired_difference`."""
    return {record["seed"]: f(record) for record in records}


def plain(found: stats.Estimate | None, form: str) -> str:
    """Formats an estimate and its interval."""
    if found is None:
        return "–"
    equal = f" ({stats.EQUAL})" if found.n > 1 else ""
    return f"{found.mean:{form}}" + (equal if found.half is None else f" ± {found.half:.2g}")


def density_reached(record: Record) -> float:
    """Returns active weights over all weights."""
    return record["cost"]["density"]


def density_asked(record: Record) -> float | None:
    """Returns the density in the config; None if it has none."""
    return record["config"]["method"].get("density")


def error(record: Record) -> float:
    """Returns the test error at the last step, in %."""
    return record["metrics"]["test_error_last"]


def entropy(record: Record) -> float:
    """Returns the PSP-entropy in bits, averaged over hidden layers."""
    hidden = list(_analysis(record, "psp_entropy").values())[:-1]  # the outputs have no state
    return sum(hidden) / len(hidden)


def sharpness(record: Record) -> float:
    """Returns the largest eigenvalue of the Hessian."""
    return _analysis(record, "top_eigenvalue")


def _analysis(record: Record, name: str) -> Any:
    """Returns the result of a function of `config.analysis`; older records omit its module."""
    return next(x for key, x in record["analysis"].items() if key.rpartition(":")[2] == name)


def _cell(density: float | None, records: Sequence[Record]) -> Cell:
    reached = stats.estimate(map(density_reached, records))
    other = reached is not None and (density is None or reached.mean > 1.05 * density)
    detail = f"at {100 * reached.mean:.3g} %" if other and reached else ""
    return Cell(stats.estimate_text(stats.estimate(map(error, records))), detail=detail)


def densities_asked(records: Sequence[Record]) -> list[float]:
    """Returns the densities in the configs, the highest first."""
    return sorted({d for r in records if (d := density_asked(r)) is not None}, reverse=True)


def at_density(records: Sequence[Record], density: float | None) -> list[Record]:
    """Returns the records whose config has the density."""
    return [record for record in records if density_asked(record) == density]
