"""Gradients of grown units: relative norms by hand, and a short run of the study."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies.front_newborns import error_table, get_config, norm_table
from experiments.studies.front_newborns.births import against_gradient
from experiments.studies.front_newborns.run import (
    SIDES,
    Course,
    follow,
    measure_missing,
    relative_norm,
)
from experiments.studies.front_rivals.growing import GROWTH
from experiments.studies.front_rivals.networks import development
from experiments.studies.study import Options
from gpnas.records import read_lines


@pytest.fixture
def config():
    config = get_config()
    config.front.data.name, config.front.data.image_size = "digits", 0
    config.front.model.widths = (8, 8, 8, 16)
    config.front.train.update(epochs=2, batch_size=64)
    config.front.branch_epochs, config.front.method.every = 1, 8
    config.front.method.window = 4
    config.seed_cost = 0.6  # of the level, 0.25
    config.arms, config.seeds, config.ages = ("growing only",), (0,), (0, 3, 9)
    return config


def course(active, norms):
    """Returns a course with one layer; `norms` has a value per unit for each mask update."""
    return Course(
        [{"a": np.array(one, bool)} for one in active],
        [{0: {"incoming": {"a": np.array(one, float)}}} for one in norms],
        0.0,
    )


def test_grown_units_are_compared_with_those_active_before():
    found = course([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], [[1, 3, 1, 9], [2, 2, 2, 6]])
    # 1 ÷ 2 at the first update, 6 ÷ 2 at the second.
    assert relative_norm(found, "incoming", 0, 8) == pytest.approx((0.5 + 3) / 2)
    # The unit of the first update, one update later.
    assert relative_norm(found, "incoming", 8, 8) == pytest.approx(1.0)


def test_more_grown_units_weigh_more_and_pruned_ones_do_not_count():
    found = course([[1, 0, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1]], [[1, 3, 3, 0], [1, 5, 1, 9]])
    assert relative_norm(found, "incoming", 0, 8) == pytest.approx((3 * 2 + 1 * 9 / 1) / 3)
    assert relative_norm(found, "incoming", 8, 8) == pytest.approx(1.0)  # the first one is gone


def test_weights_against_the_gradient():
    rng = np.random.default_rng(0)
    grad = jnp.asarray(rng.normal(size=(3, 3, 4, 5)) * [[1], [10], [100], [1e-6]], jnp.float32)
    mask = jnp.zeros(grad.shape, bool).at[:, :, :2].set(True)  # fan-in 18
    found = against_gradient(0.5)("a", mask, grad, jax.random.key(0))
    assert np.array_equal(jnp.sign(found), -jnp.sign(grad))
    root = jnp.sqrt(jnp.mean(found**2, (0, 1, 3)))
    np.testing.assert_allclose(root, 0.5 * np.sqrt(2 / 18), rtol=1e-5)
    assert not against_gradient(1.0)("a", mask, 0 * grad, jax.random.key(0)).any()


def test_errors_are_compared_by_seed():
    found = [
        {"arm": arm, "seed": seed, "val_error": error}
        for arm, errors in (("a", (10.0, 12.0)), ("b", (11.0, 13.5)))
        for seed, error in enumerate(errors)
    ]
    first, second = error_table(found, "a").rows
    assert first[2].text == "–" and second[2].text.startswith("+1.25 ±")


@pytest.mark.slow
def test_a_run_of_the_study(config, digits, tmp_path):
    settings = development(config, (0.15, 0.5), GROWTH["growing only"], 0, 0.1)
    settings.elastic = False
    found, every = follow(settings, digits, config.ages, 64)
    assert every == 8
    counts = [sum(int(one.sum()) for one in active.values()) for active in found.active]
    assert counts == sorted(counts) and counts[-1] > counts[0]
    assert set(found.norms[0]) == {0, 1, 3} and set(found.norms[0][0]) == set(SIDES)
    for norms, active in zip(found.norms, found.active[1:], strict=True):
        for name, norm in norms[0]["outgoing"].items():
            assert not norm[~active[name]].any()
    # Outgoing weights of grown units are zero: their incoming weights have no gradient yet.
    assert relative_norm(found, "incoming", 0, every) < relative_norm(found, "incoming", 3, every)

    options = Options(tmp_path, tmp_path / "runs", "", lambda: False)
    for _ in range(2):  # the second time, nothing is missing
        measure_missing(config, options)
    records = read_lines(tmp_path / config.study / "records.jsonl")
    assert len(records) == 1
    (incoming, outgoing) = norm_table(records, config.ages).rows
    assert 0 < records[0]["val_error"] < 100
    assert incoming[2].text == f"{records[0]['incoming']['0']:.2f} pilot (1 seed)"
    assert outgoing[1].text == "outgoing" and outgoing[-1].text == "1"
