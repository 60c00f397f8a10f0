"""Tables and figure of students that grow."""

import pytest

from experiments.studies.gradmax import tables as growths


def record(arm, seed, loss, norms):
    return {
        "arm": arm, "seed": seed, "losses": [3.0, 2.0, loss], "loss_after_first": loss + 1,
        "loss_after_growth": [loss, loss / 2], "last_loss": loss, "gradient_norms": norms,
        "config": {"every": 10, "start": 2, "width": 4, "interval": 10},
    }  # fmt: skip


@pytest.fixture
def records():
    ours = [record("ours", seed, 1.0 + seed, [[1.0, 3.0], [1.0, 2.0]]) for seed in (1, 0)]
    theirs = [record("theirs", seed, 2.0 + seed, [[1.0, 1.5], [1.0, 1.0]]) for seed in (0, 1)]
    return [*ours, *theirs, record("small", 0, 4.0, []), record("small", 1, 4.0, [])]


def texts(table):
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_tables(records):
    losses, gains, differences = map(texts, growths.growth_tables(records, [("ours", "theirs")]))
    assert losses["small"][0].startswith("5.000") and losses["ours"][1].startswith("1.500 ± ")
    assert gains == {
        "ours": ["2.000 (all equal)", "1.000 (all equal)"],
        "theirs": ["0.500 (all equal)", "0.000 (all equal)"],
    }  # fmt: skip
    below, above = differences.values()
    assert below == ["1.000 (all equal)", "1.000 (all equal)", "0.500 (all equal)"]
    assert above == ["", "1.500 (all equal)", "1.000 (all equal)"]


def test_differences_are_of_the_same_seeds(records):
    """Paired by position, seed 1 of one arm would be compared with seed 0 of the other."""
    left = [r for r in records if (r["arm"], r["seed"]) not in {("ours", 0), ("theirs", 2)}]
    left.append(record("theirs", 2, 9.0, [[1.0, 9.0], [1.0, 9.0]]))
    below, _ = texts(growths.growth_tables(left, [("ours", "theirs")])[2]).values()
    assert below[0] == "1.000"


def test_the_figure_is_the_same_each_time(records):
    figure = growths.growth_figure(records)
    assert figure.file("svg") == growths.growth_figure(records).file("svg")
    assert "small 4.000" in figure.panels[0].label


def test_arms_without_control_or_growth(records):
    left = [r for r in records if r["arm"] == "small"]
    losses, gains, differences = map(texts, growths.growth_tables(left, [("ours", "theirs")]))
    assert list(losses) == ["small"] and not gains and not differences
    assert len(growths.growth_figure(left).panels) == 1
