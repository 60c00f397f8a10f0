"""Methods at equal training FLOPs."""

import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas.errors import UserError
from gpnas.masks import allocate
from gpnas.methods import match_flops, relative_flops

RUN = {"total_steps": 400, "batch_size": 32, "shapes": {"a": (40, 20), "b": (20, 10)}}
GMP = {"name": "gmp", "density": 0.1, "first": 1.0, "every": 10, "allocation": "global"}
DEVELOPMENT = {"name": "development", "density": 0.1, "every": 10, "window": 5, "peak": 4.0}


def test_dense_training_costs_one():
    assert relative_flops({"name": "dense"}, **RUN) == pytest.approx(1.0)
    # Of the three parts of a step, one is dense in every tenth.
    rigl = {"name": "rigl", "density": 0.1, "every": 10, "stop_at": 1.0}
    assert relative_flops(rigl, **RUN) == pytest.approx(0.1 + 0.9 / 30)


@pytest.mark.slow
@given(st.floats(0.11, 0.95))
def test_the_settings_cost_what_was_asked_for(first):
    cost = relative_flops(GMP | {"first": first}, **RUN)
    found = match_flops(GMP, cost, "first", (0.1, 1.0), **RUN)
    assert {name for name in GMP if GMP[name] != found[name]} <= {"first"}
    assert relative_flops(found, **RUN) == pytest.approx(cost, rel=1e-3)
    assert found["first"] == pytest.approx(first, rel=5e-3)


@given(st.floats(0.02, 1.0), st.sampled_from(["erk", "uniform", "global", "macs", "global_macs"]))
def test_layers_that_differ_in_macs_per_weight(density, name):
    macs = {"a": 9.0, "b": 1.0}
    settings = {"name": "static", "density": density, "allocation": name}
    split = {
        "erk": allocate.erk(),
        "uniform": allocate.uniform(),
        "macs": allocate.by_cost(macs),
    }.get(name)
    by_hand = density  # of leaves that compete
    if split:
        counts = split(RUN["shapes"], jnp.float32(density))
        by_hand = float(9 * counts[("a",)] + counts[("b",)]) / (9 * 800 + 200)
    assert relative_flops(settings, macs=macs, **RUN) == pytest.approx(by_hand, rel=0.01)


def test_gmp_at_the_cost_of_development_with_convolutions():
    run = RUN | {"macs": {"a": 64.0, "b": 1.0}}
    target = relative_flops(DEVELOPMENT | {"allocation": "erk"}, **run)
    gmp = GMP | {"allocation": "erk"}
    found = match_flops(gmp, target, "first", (0.1, 1.0), **run)
    assert relative_flops(found, **run) == pytest.approx(target, rel=1e-3)
    alike = relative_flops(DEVELOPMENT | {"allocation": "erk"}, **RUN)
    equal = match_flops(gmp, alike, "first", (0.1, 1.0), **RUN)  # if MACs per weight were equal
    assert found["first"] != pytest.approx(equal["first"], rel=1e-2)


def test_weights_without_macs_cost_nothing():
    run = RUN | {"shapes": {"a": (40, 20), "b": (20, 10), "c": (0, 3)}, "macs": {"a": 2.0}}
    settings = {"name": "static", "density": 0.3, "allocation": "uniform"}
    assert relative_flops(settings, **run) == pytest.approx(0.3, rel=1e-3)
    assert relative_flops(settings, **run | {"macs": {"c": 1.0}}) == pytest.approx(0.3)


def test_gmp_at_the_cost_of_development():
    target = relative_flops(DEVELOPMENT, **RUN)
    found = match_flops(GMP, target, "first", (0.1, 1.0), **RUN)
    assert 0.1 < found["first"] < 1
    assert relative_flops(found, **RUN) == pytest.approx(target, rel=1e-3)


@pytest.mark.parametrize("target", [0.01, 2.0, -1.0])
def test_a_cost_out_of_range(target):
    said = "allowed: 0.1 to 0.2802, which first from 0.1 to 1 costs"
    with pytest.raises(UserError, match=f"target: got {target}, {said}"):
        match_flops(GMP, target, "first", (0.1, 1.0), **RUN)


def test_a_range_may_be_given_in_any_order():
    with pytest.raises(UserError, match="which first from 0.1 to 1 costs"):
        match_flops(GMP, 2.0, "first", (1.0, 0.1), **RUN)
    found = (match_flops(GMP, 0.2, "first", ends, **RUN) for ends in ((0.1, 1.0), (1.0, 0.1)))
    assert next(found) == next(found)


@pytest.mark.parametrize(
    ("settings", "field", "real"),
    [
        (GMP, "every", "density, first, start_at, stop_at"),
        ({"name": "acdc", "density": 0.1}, "phases", "density, warmup_at, stop_at"),
    ],
)
def test_a_field_with_whole_numbers_is_refused(settings, field, real):
    said = f"^field: got '{field}', allowed: a field with real values: {real}"
    with pytest.raises(UserError, match=said):
        match_flops(settings, 0.2, field, (1, 100), **RUN)


def test_a_wrong_field_is_named():
    with pytest.raises(UserError, match="method.peak"):
        match_flops(GMP, 0.2, "peak", (1.0, 2.0), **RUN)


@pytest.mark.parametrize(
    "settings", [{"density": 0.1}, {"name": "development_units", "density": 0.1}]
)
def test_settings_without_a_method_for_weights(settings):
    with pytest.raises(UserError, match=r"^method\.name: got "):
        relative_flops(settings, **RUN)
