"""Arms by density: errors, the density that was reached, and the claims of gradual pruning."""

import pytest

from experiments.studies.densities import density_table, gradual_table, reached_pairs


def record(arm, density, seed, error, reached=None, entropy=2.0, sharpness=5.0):
    """A record as far as these tables look at it."""
    states = {"Dense_0/kernel": entropy, "Dense_1/kernel": entropy + 1, "Dense_2/kernel": 99.0}
    return {
        "arm": arm,
        "seed": seed,
        "config": {"method": {"density": density}},
        "cost": {"density": reached or density},
        "metrics": {"test_error_last": error},
        "analysis": {"psp_entropy": states, "top_eigenvalue": sharpness},
    }


RECORDS = [
    record(arm, density, seed, error + seed, reached)
    for arm, density, error, reached in (
        ("loop", 0.1, 1.0, None), ("loop", 0.01, 2.0, 0.05), ("cut", 0.1, 1.5, None),
        ("cut", 0.01, 4.0, None),
    )
    for seed in (0, 1)
]  # fmt: skip


def cells(table):
    """Rows of plain text, by their first cell."""
    lines = [line.strip("| ").split(" | ") for line in table.to_markdown().splitlines()[2:]]
    return {line[0]: line[1:] for line in lines if len(line) > 1}


def test_errors_and_densities_that_were_not_reached():
    rows = cells(density_table("errors", RECORDS))
    assert rows["loop"][0].startswith("1.50 ±") and "at" not in rows["loop"][0]
    assert rows["loop"][1].startswith("2.50 ±") and rows["loop"][1].endswith("(at 5 %)")
    assert rows["cut"][1].startswith("4.50 ±") and "at" not in rows["cut"][1]


def test_an_arm_without_a_density_that_others_have():
    rows = cells(density_table("errors", [*RECORDS, record("one", 0.1, 0, 3.0)]))
    assert rows["one"][0].startswith("3.00 pilot") and "±" not in rows["one"][1]


def test_gradual_against_one_shot_where_both_reached_the_density():
    table = gradual_table([*RECORDS, record("loop", 0.01, 2, 2.0, 0.0105),
                           record("cut", 0.01, 2, 5.0, sharpness=7.0)], "loop", "cut")  # fmt: skip
    rows = cells(table)
    assert rows["10 % (2 seeds)"][0].startswith("-0.50 (all equal)")
    assert [float(text.split(" (all")[0]) for text in rows["10 % (2 seeds)"][1:]] == pytest.approx(
        [2.5, 2.5, 5.0, 5.0]
    )
    assert rows["1 % (1 seed)"] == ["-3.00", "2.5", "2.5", "5", "7"]
    assert cells(gradual_table(RECORDS, "loop", "cut"))["1 % (0 seeds)"] == ["–"] * 5


def test_pairs_have_the_same_seed_and_reached_the_same_density():
    ours = [record("a", 0.1, 0, 1.0, 0.109), record("a", 0.1, 1, 1.0, 0.2), record("a", 0.1, 2, 1)]
    theirs = [record("b", 0.1, seed, 2.0) for seed in (0, 1)]
    assert reached_pairs(ours, theirs) == [(ours[0], theirs[0])]


def test_prices_fill_the_columns_by_the_density_that_came_of_them():
    priced = [
        record("gates", None, 0, error, reached) for error, reached in ((4.0, 0.02), (1.0, 0.3))
    ]
    for price, one in enumerate(priced):
        one["config"]["method"] = {"penalty": price}
    rows = cells(density_table("errors", [*RECORDS, *priced]))
    assert rows["gates"][0].startswith("1.00") and rows["gates"][0].endswith("(at 30 %)")
    assert rows["gates"][1].startswith("4.00") and rows["gates"][1].endswith("(at 2 %)")


def test_more_prices_than_densities():
    priced = [record("gates", None, 0, 1.0, 0.3 / 2**price) for price in range(4)]
    for price, one in enumerate(priced):
        one["config"]["method"] = {"penalty": price}
    table = density_table("errors", [*RECORDS, *priced])
    assert table.to_text()
    rows = cells(table)
    assert len(rows["gates"]) == len(rows["loop"]) == 4 and rows["loop"][2:] == ["–", "–"]
