"""Selection: exactly k, the best, without bias, wherever and however it runs."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from experiments.benchmarks.collectives import collectives
from gpnas.masks import select
from tests import jaxprs

SHAPES = {"a": (4, 6), "b": (2, 3, 5), "c": (10,)}
SIZES = {name: int(np.prod(shape)) for name, shape in SHAPES.items()}
N = sum(SIZES.values())
KEY = jax.random.key(0)

top_k = jax.jit(select.exact_top_k)
compiled_n_of_m = functools.cache(lambda n, m: jax.jit(select.n_of_m(n, m)))
compiled_blocks = functools.cache(lambda shape: jax.jit(select.blocks(shape)))

anything = st.floats(width=32, allow_nan=True, allow_infinity=True)
tied = st.sampled_from([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-42, -1e-42])
values = arrays(np.float32, N, elements=anything) | arrays(np.float32, N, elements=tied)


def tree_of(flat):
    """A pytree of `SHAPES` with these values."""
    cuts = np.cumsum(list(SIZES.values()))[:-1]
    parts = np.split(np.asarray(flat), cuts)
    return {name: p.reshape(SHAPES[name]) for name, p in zip(SHAPES, parts, strict=True)}


def flat_of(tree):
    """The inverse of `tree_of`."""
    return np.concatenate([np.asarray(tree[name]).ravel() for name in SHAPES])


def assert_best(scores, k, chosen, where=True):
    """Checks the law: min(k, eligible) are selected, and none is better than any of them."""
    eligible = ~np.isnan(scores) & where
    assert chosen.sum() == min(max(k, 0), eligible.sum())
    assert not (chosen & ~eligible).any()
    if chosen.any() and (eligible & ~chosen).any():
        assert scores[chosen].min() >= scores[eligible & ~chosen].max()


COSTS = {"a": 5, "b": 1, "c": 3}
EACH = np.repeat([COSTS[name] for name in SHAPES], list(SIZES.values()))
top_cost = {
    over: jax.jit(functools.partial(select.exact_top_k, costs=COSTS, over=over))
    for over in (False, True)
}


@pytest.mark.slow
@given(values, st.integers(-1, int(EACH.sum()) + 2), st.integers(0, 9), st.booleans())
def test_the_best_whose_costs_sum_to_k(scores, k, seed, over):
    chosen = flat_of(top_cost[over](tree_of(scores), k, jax.random.key(seed)))
    eligible = ~np.isnan(scores)
    assert_best(scores, chosen.sum(), chosen)
    spent, whole = EACH[chosen].sum(), EACH[eligible].sum()
    if over:  # the last one reaches k
        assert spent >= min(max(k, 0), whole)
        assert spent - EACH.max() < max(k, 0) or not chosen.any()
    else:  # one more would exceed k
        assert spent <= max(k, 0)
        assert spent + EACH.max() > k or chosen.sum() == eligible.sum()


@pytest.mark.slow
@given(values, st.integers(-1, N + 2), st.integers(0, 9))
def test_the_best_k_and_no_more(scores, k, seed):
    chosen = top_k(tree_of(scores), k, jax.random.key(seed))
    assert_best(scores, k, flat_of(chosen))


@given(values, st.integers(0, N), arrays(bool, N))
def test_only_where_it_is_allowed(scores, k, where):
    chosen = top_k(tree_of(scores), k, KEY, tree_of(where))
    assert_best(scores, k, flat_of(chosen), where)


@given(arrays(np.float32, N, elements=st.floats(-2, 2, width=16)), st.integers(0, N))
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision(dtype, scores, k):
    scores = scores.astype(dtype)
    chosen = top_k(tree_of(scores), k, KEY)
    assert_best(scores.astype(np.float32), k, flat_of(chosen))


@given(arrays(np.float32, N, elements=anything, unique=True), st.integers(0, N))
def test_a_pytree_is_its_concatenation(scores, k):
    scores = np.where(scores == 0, 0.5, scores)  # 0.0 and -0.0 are unique, and tie
    as_tree = flat_of(top_k(tree_of(scores), k, KEY))
    as_array = np.asarray(top_k(scores, k, KEY))
    if len(set(scores.tolist())) == N:
        np.testing.assert_array_equal(as_tree, as_array)


@pytest.mark.parametrize("k", [0, 1, N // 2, N - 1, N, N + 5])
@pytest.mark.parametrize("ties", ["all", "half", "none"])
def test_ties(ties, k):
    scores = np.random.default_rng(0).permutation(N).astype(np.float32)
    scores = {"all": 0 * scores, "half": np.minimum(scores, N // 2), "none": scores}[ties]
    assert_best(scores, k, flat_of(top_k(tree_of(scores), k, KEY)))


def test_negative_zero_ties_with_zero():
    scores = jnp.array([0.0, -0.0] * 16)
    chosen = jax.vmap(lambda key: select.exact_top_k(scores, 8, key))(jax.random.split(KEY, 200))
    share = np.asarray(chosen).mean(0)
    assert abs(share[::2].mean() - share[1::2].mean()) < 0.05


def test_nan_is_never_selected_and_infinities_are_ordered():
    scores = jnp.array([jnp.nan, -jnp.inf, 3.0, jnp.inf, -jnp.nan, -2.0])
    expected = {0: [], 1: [3], 2: [2, 3], 3: [2, 3, 5], 4: [1, 2, 3, 5], 6: [1, 2, 3, 5]}
    for k, chosen in expected.items():
        assert np.flatnonzero(top_k(scores, k, KEY)).tolist() == chosen


def test_lots_are_fair():
    """Chi-square of how often each of 64 tied elements in three leaves is selected."""
    draws, k = 6000, 20
    tree = {name: jnp.zeros(shape) for name, shape in SHAPES.items()}
    many = jax.jit(jax.vmap(lambda key: select.exact_top_k(tree, k, key)))
    chosen = many(jax.random.split(jax.random.key(1), draws))
    chosen = np.concatenate([np.asarray(chosen[n]).reshape(draws, -1) for n in SHAPES], 1)
    rate = k / N
    spread = draws * rate * (1 - rate) * N / (N - 1)
    freedom = N - 1
    chi_square = np.sum((chosen.sum(0) - draws * rate) ** 2) / spread
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)
    together = (chosen.T.astype(float) @ chosen)[np.triu_indices(N, 1)] / draws
    expected = rate * (k - 1) / (N - 1)
    error = np.sqrt(expected / draws)
    assert np.abs(together - expected).max() < 5 * error  # of 2016 pairs
    assert abs(together.mean() - expected) < 1e-9


def test_the_key_decides_among_ties_and_nothing_else():
    tied, distinct = jnp.zeros(N), jnp.arange(N, dtype=jnp.float32)
    other = jax.random.key(1)
    assert (top_k(tied, 20, KEY) != top_k(tied, 20, other)).any()
    assert (top_k(tied, 20, KEY) == top_k(tied, 20, KEY)).all()
    assert (top_k(distinct, 20, KEY) == top_k(distinct, 20, other)).all()


def test_one_trace_serves_every_k():
    traces = []

    @jax.jit
    def count(scores, k):
        traces.append(k)
        return jnp.sum(select.exact_top_k(scores, k, KEY))

    scores = jnp.arange(40.0)
    assert [int(count(scores, jnp.int32(k))) for k in range(0, 45, 5)] == [*range(0, 41, 5)]
    assert len(traces) == 1


def test_vmap_selects_in_each_row():
    scores = jax.random.normal(KEY, (5, N)).at[:, ::3].set(0.0)
    k = jnp.array([0, 7, 30, 50, N])
    keys = jax.random.split(KEY, 5)
    batched = jax.vmap(select.exact_top_k)(scores, k, keys)
    for i in range(5):
        np.testing.assert_array_equal(batched[i], top_k(scores[i], k[i], keys[i]))


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("costs", [None, [COSTS, {"a": 1, "b": 2, "c": 7}, COSTS]])
def test_groups_at_once_are_groups_in_turn(costs, over):
    """Whether a group has ties, or less to select from than k, changes nothing in the others."""
    rng = np.random.default_rng(5)
    distinct, tied = rng.normal(size=N).astype(np.float32), np.zeros(N, np.float32)
    few = np.where(np.arange(N) < 9, distinct, np.nan)
    groups = [tree_of(flat) for flat in (distinct, tied, few)]
    where = [tree_of(rng.random(N) < 0.8) for _ in groups]
    keys = jax.random.split(KEY, 3)
    at_once = jax.jit(functools.partial(select.exact_top_k_each, costs=costs, over=over))
    for k in ((20, 20, 5), (0, N, 30), (11, 1, 9)):
        found = at_once(groups, k, keys, where)
        each = [None] * 3 if costs is None else costs
        for mask, *args, own in zip(found, groups, k, keys, where, each, strict=True):
            expected = select.exact_top_k(*args, costs=own, over=over)
            assert (flat_of(mask) == flat_of(expected)).all()


@pytest.fixture
def elsewhere(monkeypatch):
    """Code that asks is told that it does not run on a CPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


@pytest.mark.usefixtures("elsewhere")
def test_a_selection_reads_the_scores_nine_times_at_most():
    """No loop whose end depends on the scores, and no sort: a GPU would wait for its host.

    There are eight devices, but nothing says that they hold parts.
    """
    scores = {"a": jnp.zeros((100, 30)), "b": jnp.zeros(2000)}
    jaxpr = jax.make_jaxpr(select.exact_top_k)(scores, 7, KEY)
    assert not {"while", "sort", "top_k"} & jaxprs.primitives(jaxpr)
    (branch,) = [e for e, _ in jaxprs.equations(jaxpr) if e.primitive.name == "cond"]
    with_ties, _ = branch.params["branches"]
    everything = jaxprs.reductions(jaxpr, 2000) / len(scores)
    ties = jaxprs.reductions(with_ties, 2000) / len(scores)
    assert everything - ties == ties == 8  # and one pass that writes the masks


def test_masks_do_not_depend_on_the_number_of_passes(request):
    rng = np.random.default_rng(4)
    trees = [tree_of(np.round(rng.normal(size=N), digits).astype(np.float32)) for digits in (0, 7)]
    cases = [(tree, k) for tree in trees for k in (0, 1, 20, N)]
    on_cpu = [top_k(tree, k, KEY) for tree, k in cases]
    request.getfixturevalue("elsewhere")
    other = jax.jit(lambda *args: select.exact_top_k(*args))
    for (tree, k), expected in zip(cases, on_cpu, strict=True):
        found = other(tree, k, KEY)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
        assert flat_of(found).sum() == k


@pytest.mark.parametrize(
    ("devices", "known"), [(2, None), (8, AxisType.Auto), (4, AxisType.Explicit)]
)
@pytest.mark.parametrize("ties", [False, True])
def test_sharding_changes_no_bit(devices, known, ties):
    rng = np.random.default_rng(3)
    tree = {"a": rng.normal(size=(16, 6)), "b": rng.normal(size=(8, 5)), "c": rng.normal(size=24)}
    tree = {n: (np.round(x) if ties else x).astype(np.float32) for n, x in tree.items()}
    types = None if known is None else (known,)
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",), axis_types=types)
    rows = NamedSharding(mesh, PartitionSpec("data"))
    sharded = jax.device_put(tree, rows)
    for k in (0, 1, 40, 100, 160):
        one = top_k(tree, k, KEY)
        with contextlib.nullcontext() if known is None else jax.set_mesh(mesh):
            many = top_k(sharded, k, KEY)
        jax.tree.map(np.testing.assert_array_equal, one, many)
        assert sum(int(m.sum()) for m in jax.tree.leaves(many)) == k


@pytest.mark.parametrize("known", [True, False])
def test_devices_exchange_counts_and_no_scores(known):
    """If it is known that they hold parts, by one all-reduce per pass, also of several leaves."""
    mesh = Mesh(np.array(jax.devices()), ("data",))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    scores = {
        "a": jax.ShapeDtypeStruct((64, 6), jnp.float32, sharding=rows),
        "b": jax.ShapeDtypeStruct((80,), jnp.float32, sharding=rows),
    }
    with jax.set_mesh(mesh) if known else contextlib.nullcontext():
        compiled = jax.jit(select.exact_top_k, out_shardings=rows).lower(scores, 7, KEY).compile()
    sent = collectives(compiled.as_text())
    assert sent and max(one.size for one in sent) <= 4 * jax.device_count()
    if known:
        assert {one.kind for one in sent} == {"all-reduce"}
        assert sum(one.times for one in sent) == 2 * 16


def test_too_many_scores_are_refused():
    scores = jax.ShapeDtypeStruct((2**31,), jnp.float32)
    with pytest.raises(ValueError, match="exact_top_k"):
        jax.eval_shape(lambda x: select.exact_top_k(x, 1, KEY), scores)


@given(
    arrays(np.float32, (8, 4), elements=st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0])),
    st.integers(0, 5),
)
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 4), (1, 8)])
def test_n_of_every_m(n, m, scores, seed):
    mask = np.asarray(compiled_n_of_m(n, m)(scores, 0, jax.random.key(seed)))

    def groups(x):
        return x.T.reshape(-1, m)

    for chosen, values in zip(groups(mask), groups(scores), strict=True):
        assert_best(values, n, chosen)


@pytest.mark.slow
def test_n_of_m_of_convolutions_and_trees():
    tree = {"conv": jnp.zeros((3, 3, 8, 5)), "dense": jax.random.normal(KEY, (16, 3))}
    masks = select.n_of_m(2, 4)(tree, 0, KEY)
    conv = np.asarray(masks["conv"]).reshape(3, 3, 2, 4, 5)
    assert (conv.sum(3) == 2).all()
    assert (np.asarray(masks["dense"]).reshape(4, 4, 3).sum(1) == 2).all()
    assert len({tuple(column) for column in conv[..., 0].reshape(-1, 4)}) > 1  # lots, not order


@pytest.mark.slow
def test_n_of_m_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="1 <= n <= m"):
        select.n_of_m(5, 4)
    with pytest.raises(ValueError, match="multiple of 4"):
        select.n_of_m(2, 4)(jnp.ones((6, 2)), 0, KEY)


def test_n_of_m_is_a_selection():
    where = jnp.ones((8, 2), bool).at[:3].set(False)
    mask = select.n_of_m(2, 4)({"w": jnp.arange(16.0).reshape(8, 2)}, 999, KEY, {"w": where})["w"]
    assert mask[:4].sum() == 2 and mask[4:].sum() == 4  # one of a group of four may live
    assert not (mask & ~where).any()


@given(arrays(np.float32, (8, 6), elements=st.floats(-3, 3, width=32)), st.integers(0, 48))
@pytest.mark.parametrize("shape", [(4, 2), (1, 3), (8, 1), (2, 2)])
def test_blocks_live_and_die_whole(shape, scores, k):
    rows, columns = shape
    mask = np.asarray(compiled_blocks(shape)({"w": scores}, k, KEY)["w"])
    area = rows * columns
    assert mask.sum() == k // area * area
    tiles = mask.reshape(8 // rows, rows, 6 // columns, columns)
    assert (tiles.all((1, 3)) == tiles.any((1, 3))).all()


def test_blocks_are_the_best_and_only_where_allowed():
    scores = jnp.kron(jnp.arange(6.0).reshape(3, 2), jnp.ones((2, 2)))
    where = jnp.ones(scores.shape, bool).at[5, 3].set(False)  # spoils the best block
    mask = select.blocks((2, 2))(scores, 8, KEY, where)
    assert np.asarray(mask[::2, ::2]).tolist() == [[False, False], [False, True], [True, False]]
    with pytest.raises(ValueError, match="blocks"):
        select.blocks((4, 4))(jnp.ones((6, 4)), 4, KEY)


@pytest.mark.parametrize("shape", [(0, 2), (2, -1)])
def test_blocks_have_elements(shape):
    with pytest.raises(ValueError, match=r"^blocks: got \(.*\), allowed: sides of 1 or more"):
        select.blocks(shape)
