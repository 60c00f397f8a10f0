"""What mask updates do: survival by hand, shuffled masks, and a short run of the study."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.studies import stepwise
from experiments.studies.coupling import rivals
from experiments.studies.coupling.arms import OURS, config_of
from experiments.studies.coupling_mechanism import fields, tables
from experiments.studies.coupling_mechanism import run as mechanism
from experiments.studies.coupling_mechanism.config import get_config
from gpnas import masks as gm


def test_survival_is_counted_from_the_update_that_grows_a_weight():
    active = np.array([[1, 0, 0, 0], [1, 1, 1, 0], [0, 1, 0, 1], [1, 1, 0, 1]], bool)
    # grown: weights 1 and 2 at update 1, weight 3 at update 2, weight 0 at update 3
    assert mechanism.survival(active, (1, 2)) == {"1": 2 / 3, "2": 1 / 2, "end": 3 / 4}
    assert mechanism.survival(active[:1], (1,)) == {}


def test_gain_is_compared_within_an_update():
    active = np.zeros((4, 9), bool)
    active[1:, :8] = True
    active[2:, :2] = False  # the two lowest gains do not survive
    gain, cost = np.zeros((3, 9)), np.zeros((3, 9))
    gain[0, :8], cost[1, :8] = np.arange(8), np.arange(8) ** 2
    course = mechanism.Course(active, gain, cost, None)
    found = mechanism.gain_relation(course, age=1)
    assert found == pytest.approx({"correlation": 1.0, "high": 1.0, "low": 0.0})


def test_a_shuffled_mask_has_the_same_counts():
    masks = {"a": jnp.arange(12).reshape(3, 4) % 3 == 0, "bias": jnp.bool_(True)}
    after = mechanism.shuffled(masks, 0)
    assert int(after["a"].sum()) == 4 and after["bias"].ndim == 0
    assert not np.array_equal(after["a"], masks["a"])


def test_receptive_fields_by_hand():
    mask = np.zeros((16, 3), bool)  # an image of 4 by 4 pixels
    mask[[5, 6], 0] = True  # two pixels at the centre
    mask[[0, 3], 1] = True  # two corners
    found = fields.receptive_fields(mask)
    assert found["pixels"] == 4 / 16
    assert found["rings"] == {"centre": 2 / 4, "middle": 0.0, "edge": 2 / 4}
    assert found["distance"] == pytest.approx((1 + 3) / 2)
    pairs = [(5, 6), (0, 3), (5, 0), (5, 3), (6, 0), (6, 3)]
    apart = [np.hypot(a // 4 - b // 4, a % 4 - b % 4) for a, b in pairs]
    assert found["shuffled"] == pytest.approx(np.mean(apart))


@given(st.integers(0, 1000))
def test_shuffled_fields_are_those_of_random_units(seed):
    draw = np.random.default_rng(seed)
    counts = draw.integers(1, 5, 36)
    mask = np.zeros((36, 2000), bool)
    for pixel, count in enumerate(counts * 100):
        mask[pixel, draw.choice(2000, count, replace=False)] = True
    found = fields.receptive_fields(mask)
    assert found["distance"] == pytest.approx(found["shuffled"], rel=0.02)


def test_gains_are_shuffled_among_inactive_weights():
    values = jnp.arange(20.0).reshape(4, 5)
    active = values % 3 == 0
    after = rivals.shuffle_inactive(values, active, jax.random.key(0))
    assert np.all(np.isneginf(after[active]))
    np.testing.assert_array_equal(np.sort(after[~active]), values[~active])
    assert not np.array_equal(after[~active], values[~active])


@pytest.mark.slow
def test_a_run_and_its_tables(digits):
    config, settings = get_config(), config_of(OURS, 0.05)
    settings.data.name, settings.method.every, settings.train.epochs = "digits", 5, 8
    programs = mechanism.make_programs(settings, digits, by_gain=True)
    found = mechanism.measure(programs, config, 0, retrain=True)
    plan = programs.plan
    kept = mechanism.follow(programs, 0)
    weights = kept.active.shape[1]
    assert kept.active[-1].sum() == round(0.05 * weights)
    assert len(kept.gain) == len(kept.cost) == len(kept.active) - 1
    assert len(stepwise.batches(plan, digits, 0)) == plan.total_steps
    sizes = {p: m.size for p, m in gm.masked_leaves(kept.state.masks).items()}
    total = sum(sizes[path] * share for path, share in found["layers"].items())
    assert total == pytest.approx(0.05 * weights, abs=1)
    assert 0 < found["survival"]["end"] <= found["survival"]["1"] < 1
    assert 0.05 < found["ever_active"] < 1
    record = {"arm": OURS, "seed": 0} | found
    (row,) = tables.survival_table([record], config.ages).rows
    assert row[1].text == f"{100 * found['survival']['1']:.1f}"
    (row,) = tables.retrained_table([record]).rows
    gap = found["retrained"]["new weights"] - found["val_error"]
    assert row[3].text == f"{gap:+.2f}"
    assert len(tables.gain_table([record], config.age).rows) == 3
    assert len(tables.layer_table([record]).rows) == 1
    (row,) = tables.field_table([record]).rows
    assert row[1].text == f"{100 * found['fields']['pixels']:.1f}"
