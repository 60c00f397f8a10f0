"""What papers claim of plateaus and plasticity, on records where it holds and where it does not."""

import pytest

from experiments.studies.curves.claims import claim_table, difference, hidden_units
from experiments.studies.densities import error
from tests.experiments.studies.test_studies_densities import cells, record


def units(arm, kept, method=None, **fields):
    """A record of a 784-300-100 network with so many hidden units a layer."""
    found = record(arm, 0.1, fields.pop("seed", 0), fields.pop("error", 1.0), **fields)
    found["metrics"]["val_error_last"] = found["metrics"]["test_error_last"]
    found["layers"] = [
        {"shape": [784, 300], "dead_in": 0, "dead_out": 300 - kept},
        {"shape": [300, 100], "dead_in": 0, "dead_out": 100 - kept},
        {"shape": [100, 10], "dead_in": 0, "dead_out": 0},
    ]
    if method is not None:
        found["config"] = {"method": method}
    return found


def plateaus(gain):
    """Records of all arms that prune at plateaus; LOBSTER and gradual gain by so much."""
    records = []
    for seed in (0, 1, 2):
        for density in (0.1, 0.01):
            records += [
                record("LOBSTER", density, seed, 2.0 - gain + 0.01 * seed),
                record("gradual", density, seed, 2.0),
                record("one-shot", density, seed, 2.0 + gain + 0.01 * seed,
                       entropy=2.0 - gain + 0.01 * seed, sharpness=4.0 + 0.01 * seed),
            ]  # fmt: skip
    return records


def test_claims_that_hold_and_do_not():
    rows = cells(claim_table(plateaus(0.5)))
    shows = {claim.split(":")[0] + str(i): row[0] for i, (claim, row) in enumerate(rows.items())}
    assert list(shows.values()) == ["yes", "yes", "yes", "yes"]
    shows = [row[0] for row in cells(claim_table(plateaus(-0.5))).values()]
    assert shows == ["no", "no", "yes", "no"]


def test_figures_name_the_arms_in_the_direction_of_the_claim():
    rows = cells(claim_table(plateaus(0.5)))
    figures = {claim: row[1] for claim, row in rows.items()}
    of_error, of_entropy = (
        next(text for claim, text in figures.items() if word in claim)
        for word in ("errs less than one-shot", "entropy of states")
    )
    assert of_error.startswith("gradual minus one-shot: -0.5")
    assert of_entropy.startswith("gradual minus one-shot: +0.49") and of_entropy.endswith(" bits")
    narrow = next(text for claim, text in figures.items() if "eigenvalue" in claim)
    assert narrow.startswith("gradual minus one-shot: +0.99")


def test_what_seeds_leave_open_is_not_a_no():
    records = plateaus(0.5)
    for record_, shift in zip(records[::3], (0.0, 0.0, 1.5, 1.5, 0.1, 0.1), strict=True):
        record_["metrics"]["test_error_last"] += shift  # LOBSTER, by seed
    shows, figures = next(iter(cells(claim_table(records)).values()))
    assert shows.startswith("not shown with 3 seeds (half-width ")
    assert figures.startswith("LOBSTER minus gradual: +0.04 ±")


def test_densities_that_one_did_not_reach_are_left_out():
    ours = [record("a", 0.1, 0, 1.0), record("a", 0.01, 0, 9.0, reached=0.05)]
    theirs = [record("b", 0.1, 0, 1.5), record("b", 0.01, 0, 1.0)]
    assert difference(ours, theirs, error).mean == pytest.approx(-0.5)
    assert difference(ours[1:], theirs[1:], error) is None


def test_not_tested_without_a_density_that_both_reached():
    records = [record("LOBSTER", 0.01, 0, 1.0, reached=0.05), record("gradual", 0.01, 0, 1.0)]
    assert cells(claim_table(records)).popitem()[1][0] == "not tested"


def penalised(arm, price, **fields):
    """Records of two seeds with a penalty, at 30 % of the weights."""
    method = {"name": "npn_sparsify", "penalties": [price]}
    return [units(arm, 50, method, seed=seed, **{"reached": 0.3} | fields) for seed in (0, 1)]


def dense(arm, error):
    """Dense records of two seeds."""
    return [units(arm, 100, {"name": "dense"}, seed=seed, error=error) for seed in (0, 1)]


def test_plasticity_sparsifies_and_expands():
    adam = dense("dense with Adam", 1.0)
    first = {"name": "npn_expand", "first_units": 3}
    grown = [units("NPN expand", 20, first, seed=seed) for seed in (0, 1)]
    assert hidden_units(grown[0]) == 40
    rows = list(cells(claim_table([*adam, *penalised("NPN", 1.0), *grown])).values())
    assert [row[0] for row in rows] == ["yes", "not tested", "yes"]
    assert rows[1][1] == "not run: NPN SGD, dense"
    stuck = [units("NPN expand", 3, first, seed=seed) for seed in (0, 1)]
    rows = cells(claim_table([*adam, *penalised("NPN", 1.0, error=3.0), *stuck]))
    assert [row[0] for row in rows.values()] == ["no", "not tested", "no"]


def test_plasticity_is_compared_with_the_dense_arm_of_its_recipe():
    records = [*dense("dense", 1.0), *dense("dense with Adam", 2.0)]
    records += [*penalised("NPN", 1.0, error=1.9), *penalised("NPN SGD", 1.0, error=1.9)]
    ours, theirs = cells(claim_table(records)).values()
    assert ours[0] == "yes" and theirs[0] == "no"
    assert ours[1].startswith("NPN minus dense with Adam: -0.10 ")
    assert theirs[1].startswith("NPN SGD minus dense: +0.90 ")
    assert theirs[1].endswith(" points at λ = 1, 30 % of the weights")


def test_the_penalty_is_chosen_on_validation_among_those_below_half():
    records = [*dense("dense with Adam", 1.0), *penalised("NPN", 0.1, error=0.5, reached=0.6)]
    chosen, other = penalised("NPN", 1.0, error=1.5), penalised("NPN", 2.0, error=1.2)
    for one in other:
        one["metrics"]["val_error_last"] = 9.0
    (row, _) = cells(claim_table([*records, *other, *chosen])).values()
    assert row[0] == "no" and "+0.50 " in row[1] and "λ = 1," in row[1]
    (row, _) = cells(claim_table(records)).values()
    figures = "no penalty closed half of the weights: 60 (all equal) % remain at λ = 0.1"
    assert row == ["no", figures]


def test_half_of_the_weights_is_left_open_by_seeds():
    """The penalty that leaves least is tested, not that of the lowest error."""
    records = [*dense("dense with Adam", 1.0), *penalised("NPN", 0.1, error=0.5, reached=0.9)]
    records += penalised("NPN", 0.4, reached=0.52)
    records[-1]["cost"]["density"] = 0.54
    (row, _) = cells(claim_table(records)).values()
    assert row[0] == "not shown with 2 seeds (half-width 13)"
    assert row[1].endswith(": 53 ± 13 % remain at λ = 0.4")
