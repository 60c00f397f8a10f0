"""Papers' numbers beside ours: what is reached, what is missed, and by how much."""

import pytest

from experiments.studies.lenet300 import BARS
from experiments.studies.lenet300.config import get_config
from experiments.studies.papers import (
    Bar,
    compact_macs,
    differences_table,
    paper_epochs,
    paper_table,
    reached,
    units_in_use,
)
from experiments.studies.study import lengthen, load, other_epochs
from gpnas.errors import UserError


def layer(path, shape, nonzeros, dead_in=0, dead_out=0):
    """A layer as records have it."""
    return {
        "path": path, "shape": shape, "nonzeros": nonzeros, "dead_in": dead_in,
        "dead_out": dead_out,
    }  # fmt: skip


LAYERS = [
    layer("Dense_0/kernel", [784, 300], 2352, dead_in=518),
    layer("Dense_1/kernel", [300, 100], 3000, dead_in=212),
    layer("Dense_2/kernel", [100, 10], 100, dead_in=67),
]
CONV = layer("Conv_0/kernel", [5, 5, 1, 20], 9, dead_out=11)


def record(error=1.5, density=0.02, layers=LAYERS, arm="ours", seed=0):
    """A record as far as the table looks at it."""
    return {
        "arm": arm,
        "seed": seed,
        "metrics": {"test_error_last": error, "test_error_selected": error + 0.1},
        "cost": {"density": density},
        "layers": layers,
        "config": {"train": {"epochs": 20}},
    }


def test_units_and_macs():
    assert units_in_use(record()) == (266, 88, 33)
    assert compact_macs(record()) == 266 * 88 + 88 * 33 + 33 * 10
    assert units_in_use(record(layers=[CONV, LAYERS[1]])) == (9, 88)
    assert compact_macs(record(layers=[CONV, LAYERS[1]])) is None


@pytest.mark.parametrize(
    ("bar", "verdict"),
    [
        (Bar("ours"), ""),
        (Bar("ours", error=1.5, compression=50), "yes"),
        (Bar("ours", error=1.45), "no: error by 0.05 points"),
        (Bar("ours", error=1.0, compression=68), "no: error by 0.50 points; compression, 50.0×"),
        (Bar("ours", units=(266, 88, 33)), "yes"),
        (Bar("ours", units=(300, 87, 33)), "no: units"),
        (Bar("ours", macs=26642), "yes"),
        (Bar("ours", macs=26641), "no: MACs, 26,642"),
        (Bar("ours", error=1.5, after_miss=True), "yes (chosen after a miss)"),
        (Bar("ours", error=1.4, after_miss=True), "no: error by 0.10 points (chosen after a miss)"),
    ],
)
def test_what_is_reached(bar, verdict):
    assert reached(bar, [record(), record(seed=1)]) == verdict


def test_compression_is_compared_as_it_is_shown():
    for density, text in ((1 / 79.96, "yes"), (1 / 79.94, "no: compression, 79.9×")):
        both = [record(density=density), record(density=density, seed=1)]
        assert reached(Bar("ours", compression=80), both) == text


def test_a_note_explains_the_mark():
    marked = paper_table("x", [Bar("ours", error=1.5, after_miss=True)], [record()])
    assert "Chosen after a miss: " in marked.to_text()
    assert "Chosen after" not in paper_table("x", [Bar("ours", error=1.5)], [record()]).to_text()


def seeds(*errors, **fields):
    """Records of one seed for each error."""
    return [record(error, seed=seed, **fields) for seed, error in enumerate(errors)]


def test_intervals_over_seeds_decide():
    three = seeds(1.4, 1.5, 1.6)
    assert reached(Bar("ours", error=1.8), three) == "yes"
    assert reached(Bar("ours", error=1.2), three) == "no: error by 0.30 points"
    above = "error not shown with 3 seeds (mean above by 0.10, half-width 0.25)"
    assert reached(Bar("ours", error=1.4), three) == above
    assert reached(Bar("ours", error=1.6), three) == above.replace("above", "below")
    assert reached(Bar("ours", error=1.6, after_miss=True), three).endswith(
        "half-width 0.25) (chosen after a miss)"
    )
    assert reached(Bar("ours", error=1.2), three[:1]) == (
        "error not shown with 1 seed (mean above by 0.20)"
    )


def test_what_is_missed_comes_before_what_is_open():
    three = seeds(1.4, 1.5, 1.6)
    assert reached(Bar("ours", error=1.4, compression=60), three) == (
        "no: compression, 50.0×; error not shown with 3 seeds (mean above by 0.10, half-width 0.25)"
    )


def test_intervals_of_compression_and_macs():
    both = [record(density=1 / 48), record(density=1 / 52, seed=1)]
    assert reached(Bar("ours", compression=49), both) == (
        "compression not shown with 2 seeds (mean above by 1.0, half-width 25.4)"
    )
    smaller = [layer("Dense_0/kernel", [784, 300], 2352, dead_in=528), *LAYERS[1:]]
    both = [record(), record(layers=smaller, seed=1)]
    assert reached(Bar("ours", macs=26_300), both) == (
        "MACs not shown with 2 seeds (mean below by 98, half-width 5,591)"
    )
    assert reached(Bar("ours", macs=20), [record(layers=[CONV])] * 2) == "MACs not known"


def test_the_table():
    bars = (Bar("ours", "68× at 1.92 %", 200, error=1.92, compression=68), Bar("not yet", "50×"))
    table = paper_table("LeNet", bars, [record(1.8, 0.01), record(1.81, 0.0101, seed=1)])
    ours, other = (
        line for line in table.to_markdown().splitlines() if line[:5] in ("| our", "| not")
    )
    for text in (
        "68× at 1.92 %",
        "≥ 68×, ≤ 1.92 %",
        "1.81 ±",
        "99.0–100.0×",
        "266-88-33",
        "20 (200)",
    ):
        assert text in ours
    assert ours.endswith("| yes |")
    assert other.endswith("| not run |")


def test_the_papers_budgets():
    epochs = paper_epochs(BARS)
    assert epochs["L0"] == 200 and "dense" not in epochs
    config = get_config()
    config.arms["SNFS 1 %"].train.epochs = 3
    lengthen(config, epochs)
    assert config.study == "lenet300" and set(config.only.split(",")) == set(epochs)
    assert set(config.arms) == set(epochs) and len(config.seeds) == 5
    assert config.arms["SNFS 1 %"].train.epochs == 100
    config = get_config()
    config.only = "dense"
    with pytest.raises(UserError, match="at the paper's budget: got 'dense', allowed: sparse VD; "):
        lengthen(config, epochs)


def test_differences_are_paired_by_seed():
    ours = [record(error, 0.5, arm="a", seed=n) for n, error in enumerate((1.0, 1.3, 9.0))]
    theirs = [record(error, 0.25, arm="b", seed=n) for n, error in ((1, 1.2), (0, 1.0), (3, 9))]
    table = differences_table([("a", "b"), ("a", "c")], [*ours, *theirs])
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["a minus b", "2", "+0.05 ± 0.64", "-2.00 (all equal)"]
    ]


def test_rows_that_have_the_papers_budget_are_not_trained_again():
    found = {name: other_epochs(one) for name, one in load().items()}
    assert {name for name, epochs in found.items() if epochs} == {
        "as_published", "curves", "lenet5", "tickets",
    }  # fmt: skip
    assert found["lenet5"].keys() == {"LeNet-5 sparse VD", "LeNet-5 L0", "LeNet-5 L0-ARM"}
    assert found["as_published"] == dict.fromkeys(
        ("dense with Adam", "NPN with Adam", "NPN with SGD"), 500
    )
    longer = load()["curves"].get_config()
    lengthen(longer, found["curves"])
    assert {own.train.epochs for own in longer.arms.values()} == {500}


def test_units_that_nothing_leads_into_are_not_in_use():
    chain = [
        {"shape": [784, 300], "nonzeros": 9, "dead_in": 700, "dead_out": 290},
        {"shape": [300, 10], "nonzeros": 9, "dead_in": 0, "dead_out": 0},
    ]
    assert units_in_use(record(layers=chain)) == (84, 10)
