"""The study of coupling: baselines of its own, equal training FLOPs, and what its tables say."""

import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.studies.coupling import arms, chtss, tables
from experiments.studies.coupling.config import (
    CHOSEN,
    DENSITIES,
    WINDOW_1_DENSITIES,
    get_config,
    weight_decay,
)
from experiments.studies.coupling.targets import targets_table
from experiments.studies.coupling_ablations import config as ablations
from experiments.studies.coupling_ablations import growth, noise_table
from experiments.studies.coupling_ablations.variants import scale_by_age
from experiments.studies.coupling_confirmation import churn_table
from experiments.studies.coupling_confirmation import config as confirmation
from experiments.studies.coupling_confirmation_mnist import config as confirmation_mnist
from experiments.studies.coupling_growth import growth_table
from experiments.studies.coupling_growth.damped import damped_gain
from experiments.studies.coupling_lengths import tables as lengths
from experiments.studies.densities import density_asked
from experiments.studies.fashion import config as fashion
from experiments.studies.fashion_fresh import fresh_table
from gpnas import report
from gpnas.methods import relative_flops
from gpnas.records import append_line, read_lines
from gpnas.train import train

RESULTS = pathlib.Path(__file__).parents[3] / "results"
SIDE = st.integers(1, 6)
NEEDS_FASHION = {"grown without redundancy"}
NOISY_BASELINES = {name + ablations.WITH_NOISE for name in ablations.BASELINES}
CHANGED = {*ablations.METHODS, *ablations.NOISY, *NOISY_BASELINES} - NEEDS_FASHION


def cost(config):
    epochs = config.train.epochs
    found = relative_flops(config.method.to_dict(), **arms.RUN, total_steps=arms.STEPS * epochs)
    return found * epochs / arms.EPOCHS


@pytest.mark.parametrize("name", arms.MATCHED)
def test_matched_arms_cost_what_development_does(name):
    for density in (0.02, 0.002):
        found = cost(arms.config_of(name, density))
        assert found == pytest.approx(arms.target(density), rel=0.01)


def test_cheaper_developments_cost_at_most_a_third_of_gmp():
    cheaper = [
        (name, density)
        for name, densities in WINDOW_1_DENSITIES.items()
        for density in densities
        if name != arms.WINDOW_1_HIGHER
    ]
    assert len(cheaper) == 3
    for name, density in cheaper:
        share = cost(arms.config_of(name, density)) / cost(arms.config_of("GMP", density))
        assert share < (1 / 3 if (name, density) == ("window 1", 0.02) else 0.201)


@pytest.mark.parametrize("density", arms.SPARSEST)
def test_v_with_a_window_of_1_and_the_gradient_differ_only_in_the_score(density):
    names = arms.WINDOW_1_HIGHER, "magnitude and gradient"
    decays = [weight_decay(name, density) for name in (arms.OURS, names[1])]
    ours, theirs = (arms.config_of(name, density).method.to_dict() for name in names)
    assert decays[0] == decays[1] and cost(arms.config_of(names[0], density)) == pytest.approx(
        arms.target(density), rel=0.01
    )
    assert {field for field in ours if ours[field] != theirs[field]} == {"grow"}


def test_arms_of_the_readme_start_as_sparse_as_the_matched_ones():
    for name, matched in {
        "gmp sparse start": "GMP sparse start",
        "granet": "GraNet matched",
    }.items():
        assert fashion.FIRST[name] == arms.config_of(matched, fashion.DENSITY).method.first


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["SENN scores", "MEST matched", "CHTss matched"])
def test_rivals_reach_the_density(name, tmp_path):
    config = arms.config_of(name, 0.05)
    config.data.name, config.method.every, config.train.epochs = "digits", 5, 12
    record = train(config, tmp_path)
    assert record["cost"]["nonzeros"] == round(0.05 * record["cost"]["weights"])
    assert record["metrics"]["val_error_last"] < 60  # of 90 by chance


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted(CHANGED))
def test_changed_developments_reach_the_density(name, tmp_path):
    config = ablations.get_config().arms[name]
    config.data.name, config.method.every, config.train.epochs = "digits", 5, 12
    config.method.density = 0.05
    record = train(config, tmp_path)
    assert record["cost"]["nonzeros"] == round(0.05 * record["cost"]["weights"])
    assert record["metrics"]["val_error_last"] < 60  # of 90 by chance


def test_updates_of_grown_weights_warm_up():
    tx, params = scale_by_age(4), {"w": jnp.zeros(3)}
    state = tx.init(params)
    masks = [[True, False, True], [True, True, False], [True, True, True]] + [[True] * 3] * 4
    found = []
    for mask in masks:
        scaled, state = tx.update({"w": jnp.ones(3)}, state, params, masks={"w": jnp.array(mask)})
        found.append(scaled["w"] * 4)
    wanted = [[1, 0, 1], [2, 1, 0], [3, 2, 1], [4, 3, 2], [4, 4, 3], [4, 4, 4], [4, 4, 4]]
    np.testing.assert_array_equal(np.stack(found), wanted)


@pytest.mark.slow
@given(st.integers(0, 1000), SIDE, SIDE)
def test_ch2_l3n_is_the_sum_over_paths_of_three_links(seed, rows, columns):
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.5

    def likelihood(links):
        common = links @ links.T
        external = np.maximum(links.sum(1)[:, None] - common, 1)
        return np.where(common > 0, (common + 1) / external, 0)

    links = mask.astype(float)
    own, other = likelihood(links), likelihood(links.T)
    wanted = np.zeros(mask.shape)
    for i, j in itertools.product(range(rows), range(columns)):
        wanted[i, j] = sum(own[i, k] * links[k, j] for k in range(rows))
        wanted[i, j] += sum(links[i, k] * other[j, k] for k in range(columns))
    np.testing.assert_allclose(chtss.ch2_l3n(jnp.asarray(mask)), wanted, rtol=1e-5)


@given(st.integers(0, 1000))
def test_percolation_leaves_no_neuron_without_inputs_or_outputs(seed):
    draw = np.random.default_rng(seed)
    shapes = {"a": (5, 4), "b": (4, 6), "c": (6, 3)}
    before = {path: jnp.asarray(draw.random(shape) < 0.2) for path, shape in shapes.items()}
    after = chtss.percolate(before)
    for path, mask in after.items():
        assert not np.any(mask & ~before[path])
    for first, second in (("a", "b"), ("b", "c")):
        fed, read = np.any(after[first], 0), np.any(after[second], 1)
        np.testing.assert_array_equal(fed, read)
    again = chtss.percolate(after)
    assert all(np.array_equal(after[path], again[path]) for path in after)


@pytest.mark.slow
def test_an_update_of_chtss_has_the_counts_that_it_aims_at():
    key = jax.random.key(0)
    shapes = {"a": (20, 10), "b": (10, 5)}
    active = {p: jax.random.bernoulli(key, 0.6, shape) for p, shape in shapes.items()}
    params = {p: jax.random.normal(key, m.shape) * m for p, m in active.items()}
    context = chtss.MaskContext(jnp.int32(1), params, params, key)
    targets = {("a",): jnp.int32(40), ("b",): jnp.int32(11)}
    after = chtss.rewire(active, context, targets, 0.3, jnp.float32(2))
    assert {p: int(m.sum()) for p, m in after.items()} == {"a": 40, "b": 11}


def test_parts_of_development_with_a_window_of_1_are_those_of_the_confirmation():
    found = ablations.get_config().arms
    for density, at in ((0.02, 0), (0.005, 1)):
        whole, without, shuffled = (found[f"{name}@{density:g}"] for name in ablations.OF_WINDOW_1)
        confirmed = confirmation.get_config().arms[f"{arms.WINDOW_1_HIGHER}@{density:g}"]
        assert whole.method == confirmed.method
        assert whole.optimizer.weight_decay == confirmation.CHOSEN[arms.WINDOW_1_HIGHER][at]
        fields = set(whole.method)
        assert {f for f in fields if whole.method[f] != without.method[f]} == {"churn"}
        shared = fields & set(shuffled.method)
        assert {f for f in shared if whole.method[f] != shuffled.method[f]} == {"name"}
        assert cost(without) == pytest.approx(cost(whole), rel=0.01)


def test_ablations_name_the_arm_that_they_are_compared_with():
    found = [
        record(arm, seed, 0.02, 12 + worse)
        for arm, worse in {arms.WINDOW_1_HIGHER: 0.0, "window 1 without churn": 0.2}.items()
        for seed in range(3)
    ]
    table = tables.ablation_table(found, "Parts", arms.WINDOW_1_HIGHER)
    rows = [[cell.text for cell in row][:3] for row in table.rows]
    assert table.columns[2].label == f"minus {arms.WINDOW_1_HIGHER}"
    assert [row[2] for row in rows] == ["–", "+0.20 (all equal)"]


@pytest.mark.exhaustive
def test_every_arm_has_a_config_at_every_density():
    names = [name.partition("@") for name in get_config().arms]
    assert {arm for arm, _, _ in names} == {"dense", *arms.ARMS, *arms.WINDOW_1}
    assert len(names) == 1 + len(arms.ARMS) * len(DENSITIES) + sum(
        map(len, WINDOW_1_DENSITIES.values())
    )
    assert set(CHOSEN) <= {"dense", *arms.ARMS}


def record(arm, seed, density, error, decay=0.0):
    method = {} if density == 1 else {"density": density}
    return {
        "arm": arm, "seed": seed, "cost": {"train_flops": 1.0, "train_flops_dense": 10.0},
        "config": {"method": method, "optimizer": {"weight_decay": decay}, "train": {"epochs": 10}},
        "metrics": {"test_error_last": error, "val_error_last": error},
    }  # fmt: skip


def test_the_choice_is_the_least_mean_validation_error():
    found = [
        record(arm, seed, density, error + seed, decay)
        for arm, errors in {"GMP": (11, 10, 12), "RigL": (9, 9, 8)}.items()
        for decay, error in zip((0.0, 1e-4, 5e-4), errors, strict=True)
        for density, seed in itertools.product((0.02, 0.01), (0, 1))
    ]
    assert tables.chosen_decays(found) == {"GMP": 1e-4, "RigL": 5e-4}
    rows = [[cell.text for cell in row] for row in tables.choice_table("Choice", found).rows]
    assert rows[0] == ["GMP", "11.50", "10.50 ←", "12.50"]


def test_development_against_its_baselines():
    noise = (0.0, 0.1, -0.1, 0.05)
    found = [
        record(arm, seed, density, 12 + 100 * density + worse + noise[seed] * (worse > 0))
        for arm, worse in {"development": 0.0, "pipeline": 1.0, "GMP sparse start": 0.05}.items()
        for density, seed in itertools.product((0.05, 0.01), range(4))
    ]
    rows = {row[0].text: [cell.text for cell in row] for row in tables.gap_table(found).rows}
    assert rows["pipeline"][1].startswith("-1.01 ± ") and rows["pipeline"][3].startswith("-1.01")
    assert "MEST matched" not in rows
    ours = [12 + 1.0] * 4
    theirs = [12 + 1.0 + 1.0 + x for x in noise]
    p = stats.ttest_rel(ours, theirs).pvalue
    assert rows["pipeline"][4] == f"{2 * p:.2g}"


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8))
def test_holm_is_never_below_the_p_value_nor_out_of_order(values):
    p_values = {str(i): p for i, p in enumerate(values)}
    corrected = tables.holm(p_values)
    order = sorted(p_values, key=p_values.get)
    assert corrected[order[0]] == min(len(values) * p_values[order[0]], 1)
    assert all(p_values[name] <= corrected[name] <= 1 for name in p_values)
    assert [corrected[n] for n in order] == sorted(corrected[n] for n in order)


def test_a_window_of_1_against_its_baselines():
    found = [
        record(arm, seed, density, 12 + worse)
        for arm, worse in {arms.WINDOW_1_HIGHER: 0.0, "development": 0.2, "pipeline": 1.0}.items()
        for density, seed in itertools.product((0.05, 0.01), range(3))
    ]
    table = tables.gap_table(found, arms.WINDOW_1_HIGHER, corrected=False)
    rows = {row[0].text: [cell.text for cell in row] for row in table.rows}
    assert [column.label for column in table.columns][-1] == "mean over log density"
    assert (
        rows.keys() == {"pipeline", "development"} and rows["development"][1] == "-0.20 (all equal)"
    )
    assert table.caption == "Development with a window of 1 and arms of equal training FLOPs"
    others = [one for one in found if one["arm"] == "pipeline"]  # the window of 1 is not there yet
    [row] = tables.gap_table(others, arms.WINDOW_1_HIGHER).rows
    assert [cell.text for cell in row] == ["pipeline", "–", "–", "–", "–"]


def test_the_area_of_a_straight_line_is_its_middle():
    line = {d: 10 - 2 * np.log(d) for d in (0.05, 0.02, 0.01, 0.002)}
    assert tables.area(line) == pytest.approx(10 - np.log(0.05) - np.log(0.002))


def test_errors_with_their_cost():
    found = [record("GMP", seed, 0.02, 12.0) for seed in range(2)] + [record("dense", 0, 1, 10.0)]
    rows = {row[0].text: row[1] for row in tables.error_table(found).rows}
    assert (rows["GMP"].text, rows["GMP"].detail) == ("12.00 (all equal)", "0.100")
    assert isinstance(tables.error_table(found), report.Table)


def test_savings_over_gmp():
    found = [
        record(arm, seed, 0.02, 12 + worse + 0.1 * seed * (worse > 0))
        for arm, worse in {"GMP": 0.0, "development": 0.5}.items()
        for seed in range(3)
    ]
    [row] = tables.savings_table(found).rows
    assert [cell.text for cell in row] == ["development", "+0.60 ± 0.25", "1.000"]


def test_targets_are_met_or_missed(tmp_path):
    of_coupling = [
        record(arm, seed, density, 12 + worse + 0.01 * seed * (arm == "development"))
        for arm, worse in {"GMP": 1.0, "development": 0.0, "GraNet matched": 0.5}.items()
        for density, seed in itertools.product((0.02, 0.01), range(3))
    ]
    of_mnist = [record("GraNet matched", seed, 0.01, 1.6) for seed in range(2)]
    of_mnist += [record("development", seed, 0.01, 1.9) for seed in range(2)]
    wide = [record("development", 0, 0.01, 9.5)]
    studies = {"coupling": of_coupling, "coupling_mnist_long": of_mnist, "coupling_wide": wide}
    studies["coupling_confirmation"] = [
        record(arm, seed, 0.01, error + 0.01 * seed * (arm == arms.WINDOW_1_HIGHER))
        for arm, error in {
            arms.WINDOW_1_HIGHER: 12.0,
            "pipeline": 12.1,
            "random growth": 12.5,
        }.items()
        for seed in range(3)
    ]
    for name, found in studies.items():
        (tmp_path / name).mkdir()
        for one in found:
            append_line(tmp_path / name / "records.jsonl", one)
    rows = [[cell.text for cell in row] for row in targets_table(tmp_path).rows]
    verdicts = ["met", "met", "missed", "missed", "missed", "met", "missed"]
    assert [row[2] for row in rows] == verdicts
    assert rows[0][1] == "−0.49 ± 0.02 (GraNet matched)"
    assert rows[2][0].startswith("1 %: development, window 1, new seeds, minus the best arm")
    assert rows[2][1] == "−0.09 ± 0.02 (pipeline)"
    assert rows[3][1].startswith("1.000, at a difference of −0.99")
    assert rows[5][1].startswith("1.90 (all equal) %; the best arm: 1.60")
    assert rows[6][1].startswith("90.50 %, one seed")


def test_the_cheapest_run_with_an_error():
    def run(arm, epochs, error):
        found = record(arm, 0, 0.02, error)
        found["config"]["train"]["epochs"] = epochs
        found["cost"]["train_flops_dense"] = epochs
        return found

    found = [run("SET", 5, 12.6), run("SET", 20, 12.4), run("SET", 80, 11.2), run("RigL", 5, 13.0)]
    rows = {row[0].text: row[1:] for row in lengths.cheapest_table(found).rows}
    assert [(cell.text, cell.detail) for cell in rows["SET"][:2]] == [
        ("0.100", "20 epochs"), ("0.100", "80 epochs"),
    ]  # fmt: skip
    assert [cell.text for cell in rows["RigL"]] == ["–"] * 3
    (_, of_set, *_) = lengths.length_table(found).rows
    assert [cell.text.partition(" pilot")[0] for cell in of_set] == [
        "SET", "12.60", "–", "12.40", "–", "11.20",
    ]  # fmt: skip


def test_noise_in_development_and_in_baselines():
    found = [
        record(arm, seed, 0.02, 12 + worse + 0.1 * seed * (worse > 0))
        for arm, worse in {"development": 0.0, "with noise": 0.5, "GraNet matched": 1.0}.items()
        for seed in range(3)
    ]
    rows = {row[0].text: [cell.text for cell in row] for row in noise_table(found).rows}
    assert rows["development"][3:] == ["+0.60 ± 0.25", "0.100"]
    assert rows["GraNet matched"][1:] == ["13.10 ± 0.25", "–", "–", "–"]


def test_fresh_seeds():
    found = [
        record(arm, seed, 0.02, 12 + worse + 0.1 * seed * (worse > 0))
        for arm, worse in {"gmp": 0.0, "development": 0.5}.items()
        for seed in range(320, 323)
    ]
    rows = {row[0].text: [cell.text for cell in row] for row in fresh_table(found).rows}
    assert rows["development"][1] == "3" and rows["development"][3] == "+32.60 ± 0.25"
    assert rows["gmp"][3] == "–"


def test_gains_without_redundancy():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6))
    covariance = np.cov(inputs, rowvar=False)
    weights = rng.normal(size=(6, 3)) * np.array([[1, 0, 1, 0, 0, 1]]).T
    slopes, scale = rng.normal(size=(6, 3)), np.array([0.5, 1.0, 2.0])
    found = growth.residual_gain(*map(jnp.float32, (weights, slopes, scale, covariance)))
    ridged = covariance + growth.RIDGE * np.trace(covariance) / 6 * np.eye(6)

    def decrease(unit: int, active: list[int]) -> float:  # of the quadratic model, at its optimum
        g = slopes[active, unit]
        return 0.5 * g @ np.linalg.solve(scale[unit] * ridged[np.ix_(active, active)], g)

    for unit, new in itertools.product(range(3), (1, 3, 4)):
        expected = decrease(unit, sorted([0, 2, 5, new])) - decrease(unit, [0, 2, 5])
        assert found[new, unit] == pytest.approx(expected, rel=1e-3)


def test_damped_gains_are_between_v_and_the_squared_gradient():
    gradient, fisher = jnp.array([1.0, 2.0, 0.0]), jnp.array([1.0, 8.0, 0.0])
    v = damped_gain(gradient, fisher, 0.0)
    np.testing.assert_allclose(v, [0.5, 0.25, 0.0], rtol=1e-5)
    by_gradient = damped_gain(gradient, fisher, 1e6)
    np.testing.assert_allclose(by_gradient / by_gradient[0], [1.0, 4.0, 0.0], rtol=1e-4)
    np.testing.assert_allclose(damped_gain(gradient, fisher, 1.0), [1 / 8, 2 / 11, 0.0], rtol=1e-5)


def test_development_with_and_without_churn():
    found = [
        record(arm, seed, 0.002, 16 + worse + 0.1 * seed * (worse > 0))
        for arm, worse in {arms.WINDOW_1_HIGHER: 0.0, confirmation.WITHOUT_CHURN: 0.5}.items()
        for seed in range(3)
    ]
    [row] = churn_table(found).rows
    assert [cell.text for cell in row][:4] == [
        "0.2 %", "16.00 (all equal)", "16.60 ± 0.25", "-0.60 ± 0.25",
    ]  # fmt: skip
    fields = confirmation.get_config().arms
    both = (fields[f"{name}@0.002"] for name in (arms.WINDOW_1_HIGHER, confirmation.WITHOUT_CHURN))
    ours, without = (one.method.to_dict() for one in both)
    assert {f for f in ours if ours[f] != without[f]} == {"churn"} and without["churn"] == 0


def test_other_ways_to_grow_beside_v():
    found = [
        {**record(arm, seed, 0.01, 2.0 + worse), "config": {
            "data": {"name": "mnist"}, "method": {"density": 0.01}}}
        for arm, worse in {arms.WINDOW_1_HIGHER: 0.0, "λ = 10": -0.25}.items()
        for seed in range(3)
    ]  # fmt: skip
    table = growth_table(found)
    assert [column.label for column in table.columns][3] == "MNIST, 1 %"
    rows = {row[0].text: row[3] for row in table.rows}
    assert rows["V"].text == "2.00 (all equal)" and rows["the gradient of one batch"].text == "–"
    assert (rows["V, λ = 10"].text, rows["V, λ = 10"].detail) == (
        "1.75 (all equal)",
        "-0.25 (all equal)",
    )


def test_gains_by_wholes():
    v = jnp.array([[4.0, 0.0], [1.0, 3.0]])
    w = jnp.array([[0.0, 1.0], [0.0, 0.0]])
    found = growth.mean_of_sides(v, w)
    assert found.tolist() == [[4.0 + 2.5, 4.0 + 3.0], [2.0 + 2.5, 2.0 + 3.0]]


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("coupling_tuning_confirmation", confirmation.CHOSEN),
        ("coupling_tuning_mnist", confirmation_mnist.CHOSEN),
    ],
)
def test_the_confirmation_has_the_weight_decay_chosen_on_validation(name, chosen):
    found = read_lines(RESULTS / name / "records.jsonl")
    for at, sparsest in enumerate((False, True)):
        own = [one for one in found if (density_asked(one) in arms.SPARSEST) == sparsest]
        assert tables.chosen_decays(own) == {arm: both[at] for arm, both in chosen.items()}
