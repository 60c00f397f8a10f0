"""Allocation against a plain loop, and the promise that no weight is lost to rounding."""

import functools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas.masks import allocate

LENET = {"Dense_0/kernel": (784, 300), "Dense_1/kernel": (300, 100), "Dense_2/kernel": (100, 10)}
CONV = {"c1": (5, 5, 1, 20), "c2": (5, 5, 20, 50), "f1": (800, 500), "f2": (500, 10)}
TINY = {"a": (3, 7), "b": (5, 5), "c": (2, 2)}
KINDS = {
    "erk": allocate.erk(),
    "uniform": allocate.uniform(),
    "global": allocate.global_(),
    "per_leaf": allocate.per_leaf({"*[1a]*": 0.3, "*": 0.1}),
    "keep": allocate.erk(dense=("*[2c]*",)),
}
densities = st.floats(2**-10, 1.0, width=32)


@functools.cache
def compiled(allocation, shapes):
    """One program for all densities."""
    return jax.jit(lambda density: allocation(dict(shapes), density))


def counts(allocation, shapes, density):
    """`{group: k}` as Python numbers."""
    program = compiled(allocation, tuple(shapes.items()))
    return {group: int(k) for group, k in program(jnp.float32(density)).items()}


def plain_erk(shapes, density):
    """ERK densities as RigL's reference code finds them: leaves that overflow are made dense."""
    size = {p: math.prod(s) for p, s in shapes.items()}
    raw = {p: sum(s) / math.prod(s) for p, s in shapes.items()}
    dense = set()
    while True:
        left = density * sum(size.values()) - sum(size[p] for p in dense)
        scale = left / sum(raw[p] * size[p] for p in shapes if p not in dense)
        over = [p for p in shapes if p not in dense and scale * raw[p] > 1]
        if not over:
            return {p: 1.0 if p in dense else scale * raw[p] for p in shapes}
        dense.add(max(over, key=raw.get))


@pytest.mark.parametrize("shapes", [LENET, CONV, TINY])
@pytest.mark.parametrize("density", [0.02, 0.1, 0.5, 0.9])
def test_erk_is_the_published_rule(shapes, density):
    expected = plain_erk(shapes, density)
    got = counts(allocate.erk(), shapes, density)
    for path, shape in shapes.items():
        assert abs(got[(path,)] - expected[path] * math.prod(shape)) <= 1


@pytest.mark.parametrize(
    ("density", "golden"),
    [(0.02, [0.015394, 0.044534, 0.367403]), (0.1, [0.079568, 0.230189, 1.0])],
)
def test_erk_densities_of_lenet_300_100(density, golden):
    got = counts(allocate.erk(), LENET, density)
    shares = [got[(path,)] / math.prod(shape) for path, shape in LENET.items()]
    np.testing.assert_allclose(shares, golden, atol=1e-3)
    np.testing.assert_allclose(list(plain_erk(LENET, density).values()), golden, atol=1e-5)


@pytest.mark.slow
@given(densities)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shapes", [LENET, CONV, TINY], ids=["lenet", "conv", "tiny"])
def test_the_sum_is_exact(kind, shapes, density):
    got = counts(KINDS[kind], shapes, density)
    size = {path: math.prod(shape) for path, shape in shapes.items()}
    exact = Fraction(float(np.float32(density))) * sum(size.values())
    kept = sum(size[p] for p in size if kind == "keep" and ("2" in p or "c" in p))
    total = sum(got.values())
    assert total == kept or abs(total - exact) <= Fraction(1, 2) + Fraction(1, 10**5)  # float32
    assert total >= kept
    assert all(0 <= k <= sum(size[p] for p in group) for group, k in got.items())


@given(st.integers(1, 2**31 - 1), densities)
def test_a_part_of_very_many_is_exact(size, density):
    exact = Fraction(float(np.float32(density))) * size
    assert abs(int(allocate.part_of(jnp.float32(density), size)) - exact) <= Fraction(11, 20)


def test_the_sum_is_exact_beyond_float32():
    shapes = {f"l{i}": (20_001, 1_003) for i in range(20)}  # 401 million weights
    exact = Fraction(float(np.float32(0.37))) * 20 * 20_001 * 1_003
    for allocation in (allocate.uniform(), allocate.erk(), allocate.global_()):
        assert abs(sum(counts(allocation, shapes, 0.37).values()) - exact) <= Fraction(11, 20)


def test_uniform_and_per_leaf():
    got = counts(allocate.uniform(), LENET, 0.1)
    assert list(got.values()) == [23520, 3000, 100]
    got = counts(allocate.per_leaf({"Dense_2/*": 1.0, "*": 0.5}), LENET, 0.1)
    shares = [k / math.prod(LENET[group[0]]) for group, k in got.items()]
    np.testing.assert_allclose(np.array(shares) / shares[0], [1, 1, 2], rtol=1e-2)
    with pytest.raises(ValueError, match="Dense_1"):
        counts(allocate.per_leaf({"Dense_0/*": 1.0, "Dense_2/*": 1.0}), LENET, 0.1)


def test_global_is_one_group():
    assert counts(allocate.global_(), LENET, 0.02) == {tuple(LENET): 5324}


def test_globs_keep_leaves_dense_and_the_others_pay():
    got = counts(allocate.uniform(dense=("Dense_2/*",)), LENET, 0.1)
    assert got[("Dense_2/kernel",)] == 1000
    assert sum(got.values()) == 26620
    got = counts(allocate.uniform(dense=("Dense_2/*",)), LENET, 0.001)  # they cannot
    assert list(got.values()) == [0, 0, 1000]


@pytest.mark.parametrize("density", [0.02, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_by_cost_meets_a_budget_in_macs(density, power):
    macs = {"c1": 576.0, "c2": 64.0}
    size = {path: math.prod(shape) for path, shape in CONV.items()}
    got = counts(allocate.by_cost(macs, power), CONV, density)
    spent = sum(macs.get(group[0], 1.0) * k for group, k in got.items())
    budget = density * sum(macs.get(p, 1.0) * n for p, n in size.items())
    assert abs(spent - budget) <= sum(macs.get(p, 1.0) for p in size) + 1e-5 * budget
    if power == 0 and density < 1:
        np.testing.assert_allclose([got[(p,)] / size[p] for p in size], density, rtol=0.2)


def test_total_costs_are_counted_in_whole_units():
    macs = {"c1": 576.0, "*": 64.0}
    allocation = allocate.by_total_cost(macs)
    costs = allocation.weight_costs(CONV)
    assert costs == {path: 9 if path == "c1" else 1 for path in CONV}
    whole = sum(costs[path] * math.prod(shape) for path, shape in CONV.items())
    assert counts(allocation, CONV, 0.25) == {tuple(CONV): round(0.25 * whole)}
    # Costs that no int32 can sum are rounded up.
    large = {"a": (3, 3, 512, 512), "b": (512, 1000)}
    rounded = allocate.by_total_cost({"a": 12544.0, "b": 1.0}).weight_costs(large)
    assert sum(rounded[path] * math.prod(shape) for path, shape in large.items()) < 2**31
    assert rounded["a"] / rounded["b"] < 12544 and rounded["b"] == 1


@pytest.mark.parametrize("make", [allocate.by_cost, allocate.by_total_cost])
@pytest.mark.parametrize("cost", [0.0, -1.0, math.inf, math.nan])
def test_costs_that_are_not_positive_and_finite(make, cost):
    with pytest.raises(ValueError, match="allowed: positive finite costs"):
        make({"c1": cost})


@pytest.mark.slow
def test_densities_fall_with_the_total():
    before = counts(allocate.erk(), CONV, 1.0)
    for density in np.linspace(0.99, 0.01, 60):
        now = counts(allocate.erk(), CONV, density)
        assert all(now[group] <= before[group] for group in now)
        before = now


def test_check_says_which_leaf_starves():
    allocate.check_feasible(allocate.erk(), LENET, 0.02)
    with pytest.raises(ValueError, match="Dense_0/kernel"):
        allocate.check_feasible(allocate.erk(dense=("Dense_1/*", "Dense_2/*")), LENET, 0.02)
    with pytest.raises(ValueError, match="density 1e-07"):
        allocate.check_feasible(allocate.global_(), LENET, 1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_densities_may_be_traced(kind):
    traces = []

    @jax.jit
    def traced(density):
        traces.append(density)
        return KINDS[kind](LENET, density)

    for density in (0.01, 0.1, 0.5, 1.0):
        got = {group: int(k) for group, k in traced(jnp.float32(density)).items()}
        assert got == counts(KINDS[kind], LENET, density)
    assert len(traces) == 1


@given(
    st.lists(st.floats(0, 100, width=32), min_size=4, max_size=4),
    st.integers(-3, 3),
)
def test_round_to_total(wanted, off):
    total = round(sum(wanted))
    got = np.asarray(allocate.round_to_total(jnp.float32(wanted), jnp.int32(total)))
    assert got.sum() == total
    assert (np.abs(got - np.array(wanted)) < 1 + 1e-4).all()
    forced = allocate.round_to_total(jnp.float32(wanted), jnp.int32(total + off))
    assert forced.sum() == total + off  # even where the total is not quite their sum
