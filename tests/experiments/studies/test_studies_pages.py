"""Tables between a page's markers, and what stands in them."""

import numpy as np
import pytest

from experiments.faults import FAULTS
from experiments.studies.faults import fault_table
from experiments.studies.optima.tables import optimum_table
from experiments.studies.proxies.tables import Ranking, ranking_figure, ranking_table
from experiments.studies.study import fill
from gpnas.errors import UserError
from gpnas.report import Cell, Column, Table

PAGE = (
    "before\n<!-- begin a -->\nold\n<!-- end a -->\nbetween <!-- begin b --><!-- end b -->\nafter"
)
TABLE = Table("Caption", [Column("x", numeric=False)], [[Cell("1")]])


def test_only_what_is_between_the_markers_is_written():
    filled = fill(PAGE, "a", [TABLE])
    assert filled.startswith("before\n<!-- begin a -->\n**Caption**\n\n| x |")
    assert filled.endswith("<!-- end a -->\nbetween <!-- begin b --><!-- end b -->\nafter")
    assert "old" not in filled and fill(filled, "a", [TABLE]) == filled


@pytest.mark.parametrize("page", ["nothing", "<!-- begin a --> open", "<!-- end a -->"])
def test_a_page_without_markers(page):
    with pytest.raises(UserError, match="page: got 'a', allowed: .*begin a"):
        fill(page, "a", [TABLE])


def line(name, value, **details):
    shared = {
        "median": value, "largest": 9, "cap": 12, "stuck": [], "seeds": 100, "deviation": 10.0
    }  # fmt: skip
    return {"name": name, "value": value, "target": "≤ 5", "holds": value <= 5, "fast": False,
            "details": shared | details}  # fmt: skip


def test_optima_by_the_newest_line_of_seeds_that_chose_nothing():
    lines = [
        line("nas_bench_201_lanas", 3.0, first_seed=1000),
        line("nas_bench_201_lanas", 8.0, first_seed=1000, stuck=[1001, 1007]),
        line("nas_bench_macro_lanas", 6.9, first_seed=1000),
        line("nas_bench_macro_local", 3.0, first_seed=1000),
        line("nas_bench_201_lanas", 1.0),  # an old one, that does not say its seeds
        line("nas_bench_201_local", 2.0, first_seed=1000) | {"fast": True},
    ]
    rows = [[cell.text for cell in row] for row in optimum_table(lines).rows]
    open_ = "not shown with 100 seeds (mean above by 2, half-width 2)"
    assert rows == [
        ["NAS-Bench-201, CIFAR-10", "LaNAS", "8 ± 2", "≤ 5", "no", "8", "9", "12", "2",
         "1000 to 1099"],
        ["NAS-Bench-Macro", "local search", "3 ± 2", "≤ 5", "yes", "3", "9", "12", "0",
         "1000 to 1099"],
        ["NAS-Bench-Macro", "LaNAS", "7 ± 2", "≤ 5", open_, "7", "9", "12", "0",
         "1000 to 1099"],
    ]  # fmt: skip


def test_faults_by_their_newest_lines():
    def result(value, date):
        return {
            "name": "sigkill", "value": value, "target": "40 of 40", "holds": value == 40,
            "date": f"{date}T09:09:38+00:00", "machine": {"device": "cpu"},
        }  # fmt: skip

    table = fault_table([result(39, "2026-11-27"), result(40, "2026-11-28")])
    first, *others = ([cell.text for cell in row] for row in table.rows)
    assert first == ["sigkill", "40", "40 of 40", "yes", "2026-11-28", "cpu"]
    assert len(others) == len(FAULTS) - 1 and {row[1] for row in others} == {"not measured"}


def test_rankings_best_first():
    some = [
        Ranking(name, rho, rho - 0.1, rho + 0.1)
        for name, rho in zip("abc", (0.2, 0.7, -0.1), strict=True)
    ]
    ahead = [Ranking("a", -0.5, -0.6, 0.4)]
    table = ranking_table("Caption", some, ahead, "b", [])
    assert [row[0].text for row in table.rows] == ["b", "a", "c"]
    assert [cell.text for cell in table.rows[0]] == ["b", "0.700", "0.600 to 0.800", "", ""]
    assert [cell.text for cell in table.rows[1][3:]] == ["-0.500", "-0.600 to +0.400"]
    spec = ranking_figure("some", some, "Caption")
    assert (
        spec.file("svg").startswith(b"<?xml") and "b 0.70; a 0.20; c -0.10" in spec.panels[0].label
    )
    assert len(np.frombuffer(spec.file("png"), np.uint8)) > 5000
