"""Arms at several densities: a table of errors, and what papers claim of gradual pruning."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpnas.report.errors import error_text
from gpnas.report.stats import Estimate, estimate, paired_difference
from gpnas.report.table import Cell, Column, Table

Record = Mapping[str, Any]


def density_table(caption: str, records: Sequence[Record]) -> Table:
    """One row an arm, one column a density asked for; the density reached where it is another.

    Args:
      caption: Of the table.
      records: Of a study whose arms have a `method.density`.
    """
    asked = sorted({r["config"]["method"]["density"] for r in records}, reverse=True)
    arms = list(dict.fromkeys(record["arm"] for record in records))
    columns = [Column("arm", numeric=False)]
    columns += [Column(f"{100 * density:g} %") for density in asked]
    rows = []
    for arm in arms:
        cells = [Cell(arm)]
        for density in asked:
            same = _at(records, arm, density)
            reached = estimate(r["cost"]["density"] for r in same)
            other = reached is not None and reached.mean > 1.05 * density
            detail = f"at {100 * reached.mean:.2g} %" if other and reached else ""
            found = estimate(r["metrics"]["test_error_last"] for r in same)
            cells.append(Cell(error_text(found), detail=detail))
        rows.append(cells)
    note = (
        "Test error in % at the last step, mean ± half the 95 % interval over seeds, by the density"
        " asked for; in brackets the density where pruning ended earlier."
    )
    return Table(caption, columns, rows, [note])


def gradual_table(records: Sequence[Record], gradual: str, one_shot: str) -> Table:
    """PSP-entropy's claims: gradual against one-shot pruning at equal density.

    Args:
      records: Of a study with `analysis` of "psp_entropy" and "top_eigenvalue".
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
    for density in sorted({r["config"]["method"]["density"] for r in records}, reverse=True):
        ours, theirs = (_at(records, arm, density) for arm in (gradual, one_shot))
        gap = paired_difference(*(_by_seed(x, _error) for x in (ours, theirs)))
        cells = [f"{100 * density:g} %", _plain(gap, "+.2f")]
        for measure in (_entropy, _sharpness):
            cells += [_plain(estimate(map(measure, x)), ".3g") for x in (ours, theirs)]
        rows.append([Cell(text) for text in cells])
    return Table(f"{gradual} against {one_shot} pruning", columns, rows)


def _at(records: Sequence[Record], arm: str, density: float) -> list[Record]:
    return [r for r in records if r["arm"] == arm and r["config"]["method"]["density"] == density]


def _by_seed(records: Sequence[Record], f: Callable[[Record], float]) -> dict[int, float | None]:
    return {record["seed"]: f(record) for record in records}


def _error(record: Record) -> float:
    return record["metrics"]["test_error_last"]


def _entropy(record: Record) -> float:
    states = record["analysis"]["psp_entropy"]
    hidden = list(states)[:-1]  # the outputs have no state
    return sum(states[path] for path in hidden) / len(hidden)


def _sharpness(record: Record) -> float:
    return record["analysis"]["top_eigenvalue"]


def _plain(found: Estimate | None, form: str) -> str:
    if found is None:
        return "–"
    return f"{found.mean:{form}}" + (f" ± {found.half:.2g}" if found.half is not None else "")
