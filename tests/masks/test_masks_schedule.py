"""Schedules: their ends, their shapes, and their formulas in plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.masks import plasticity, schedule, score

STEPS = np.arange(0, 1200)


def curve(f, steps=STEPS):
    """A schedule at many steps, each a traced int32 scalar as in a train step."""
    return np.asarray(jax.jit(jax.vmap(f))(jnp.asarray(steps, jnp.int32)))


def test_constant():
    assert (curve(schedule.constant(0.3)) == np.float32(0.3)).all()


def test_linear():
    got = curve(schedule.linear(0.2, 1.0, 100, 900))
    np.testing.assert_allclose(got, 0.2 + 0.8 * np.clip((STEPS - 100) / 800, 0, 1), rtol=1e-5)


def test_cubic():
    got = curve(schedule.cubic(1.0, 0.1, 100, 900))
    x = np.clip((STEPS - 100) / 800, 0, 1)
    np.testing.assert_allclose(got, 0.1 + 0.9 * (1 - x) ** 3, rtol=1e-5)
    assert got[0] == got[100] == 1 and got[900] == got[-1] == np.float32(0.1)
    assert (np.diff(got) <= 0).all()


def test_log_linear():
    got = curve(schedule.log_linear([(0, 1.0), (100, 1.0), (500, 0.25), (500, 0.5), (700, 0.5)]))
    assert (got[:101] == 1).all() and (got[700:] == np.float32(0.5)).all()
    np.testing.assert_allclose(got[300], 0.5, rtol=1e-5)  # half-way, the geometric mean
    np.testing.assert_allclose(got[500:700], 0.5, rtol=1e-5)
    assert (np.diff(got[100:500]) < 0).all()


@pytest.mark.parametrize("points", [[], [(0, 0.0), (10, 1.0)], [(0, float("nan"))]])
def test_log_linear_needs_positive_values(points):
    with pytest.raises(ValueError, match="log_linear: got .*, allowed: one or more points"):
        schedule.log_linear(points)


def test_cosine():
    got = curve(schedule.cosine(0.3, 800, 0.05))
    x = np.clip(STEPS / 800, 0, 1)
    expected = 0.05 + 0.25 * 0.5 * (1 + np.cos(np.pi * x))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
    assert abs(got[0] - 0.3) < 1e-6 and (got[800:] == np.float32(0.05)).all()
    assert curve(schedule.cosine(0.3, 800))[800:].max() == 0
    assert (np.diff(got) <= 1e-7).all()


@pytest.mark.parametrize(("peak", "at", "stop"), [(1.5, 300, 900), (12.0, 100, 750), (1.0, 10, 20)])
def test_developmental(peak, at, stop):
    got = curve(schedule.developmental(0.05, peak, at, stop))
    rise = np.sin(np.pi * STEPS / (2 * at)) ** 2
    fall = (1 - np.clip((STEPS - at) / (stop - at), 0, 1)) ** 3
    expected = np.where(at >= STEPS, 1 + (peak - 1) * rise, 1 + (peak - 1) * fall)
    np.testing.assert_allclose(got, 0.05 * expected, rtol=1e-4)
    np.testing.assert_allclose([got[0], got[at]], [0.05, 0.05 * peak], rtol=1e-5)
    assert (got[stop:] == np.float32(0.05)).all()
    assert (np.diff(got[: at + 1]) >= -1e-7).all() and (np.diff(got[at:]) <= 1e-7).all()


def test_a_schedule_of_no_length_is_a_step():
    got = curve(schedule.cubic(1.0, 0.1, 50, 50))
    assert (got[:50] == 1).all() and (got[50:] == np.float32(0.1)).all()
    assert curve(schedule.developmental(0.1, 3.0, 0, 100))[0] == np.float32(0.3)


def test_alternating_phases_land_where_they_should():
    got = curve(schedule.alternating(0.1, start=100, stop=500, dense_steps=50, sparse_steps=150))
    sparse = got == np.float32(0.1)
    assert not sparse[:100].any() and (got[~sparse] == 1).all()
    for begin in (100, 300):
        assert sparse[begin : begin + 150].all() and not sparse[begin + 150 : begin + 200].any()
    assert sparse[500:].all()


@pytest.mark.parametrize(
    ("density", "said"),
    [
        (schedule.developmental(0.8, 1.5, 10, 100), "1.06\\d* at step 6"),
        (schedule.log_linear([(0, 0.5), (30_000, 1.3), (50_000, 0.5)]), "1.00\\d* at step 22"),
        (schedule.linear(0.5, -0.1, 0, 10), "-0.04 at step 9"),
        (lambda step: jnp.where(step == 7, jnp.nan, 0.5), "nan at step 7"),
    ],
)
def test_densities_between_the_ends_are_checked(density, said):
    with pytest.raises(ValueError, match=f"^density: got {said}.*, allowed: a number in"):
        schedule.check_densities(density)


def test_densities_that_are_fractions_or_traced_are_not_refused():
    for peak in (1.0, 1.25):
        schedule.check_densities(schedule.developmental(0.8, peak, 10, 100))
    schedule.check_densities(lambda step: 0.5)

    @jax.jit
    def traced(value):
        schedule.check_densities(schedule.constant(value))
        return value

    assert traced(3.0) == 3


@pytest.mark.parametrize("field", ["density", "churn"])
def test_a_number_is_no_schedule(field):
    settings = {"drop": score.magnitude(), "grow": score.gradient()}
    curves = {"density": schedule.constant(0.1), "churn": schedule.constant(0.2), field: 0.3}
    message = rf"{field}: got 0.3, allowed: .* such as schedule.constant\(0.3\)"
    with pytest.raises(ValueError, match=message):
        plasticity(**settings, **curves)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: schedule.at_mask_updates(schedule.constant(0.1), 0), "every: got 0"),
        (lambda: schedule.alternating(0.1, 0, 9, 0, 0), r"dense_steps \+ sparse_steps: got 0"),
    ],
)
def test_no_steps_are_refused(make, field):
    with pytest.raises(ValueError, match=f"^{field}, allowed: 1 or more steps"):
        make()


@pytest.mark.parametrize("lookahead", [0, 100])
def test_held_changes_at_mask_updates_only(lookahead):
    f = schedule.linear(1.0, 0.1, 0, 900)
    got, aim = curve(schedule.at_mask_updates(f, 100, lookahead)), curve(f)
    assert (got[:100] == aim[0]).all()
    for update in range(100, 800, 100):
        assert (got[update : update + 100] == aim[update + lookahead]).all()
