"""`sparsify`: exact zeros, exact counts and fresh moments in any loop, under any wrapper."""

import contextlib
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, serialization
from flax.training.train_state import TrainState
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from gpnas.masks import (
    Axes,
    MaskContext,
    MaskTransform,
    apply,
    density_of,
    every,
    finite,
    init_masks,
    masked,
    masked_leaves,
    masks_of,
    plasticity,
    schedule,
    score,
    sparse_params,
    sparsify,
    summary,
    transition,
    tree,
    unstacked,
    update_leaves,
)
from tests import traces

KEY = jax.random.key(0)
PARAMS = {
    "a": {"kernel": jax.random.normal(jax.random.key(1), (16, 16)), "bias": jnp.ones(16)},
    "b": {"kernel": jax.random.normal(jax.random.key(2), (16, 8)), "bias": jnp.ones(8)},
}
X = jax.random.normal(jax.random.key(3), (8, 16))
RIGL = plasticity(
    drop=score.magnitude(),
    grow=score.gradient(),
    every=3,
    density=schedule.constant(0.25),
    churn=schedule.cosine(0.6, 100),
)
ACTIVE = 96  # a quarter of the weights
ADAM = optax.adam(0.01)


def rolling():
    """A quarter of each leaf is active; at every third step, the mask moves on by one row."""

    def init(masks, params, key):
        start = jax.random.randint(key, (), 0, 4)
        leaves = {p: jnp.arange(m.size).reshape(m.shape) for p, m in masked_leaves(masks).items()}
        active = {p: (x + x // x.shape[1] + start) % 4 == 0 for p, x in leaves.items()}
        return update_leaves(masks, active), jnp.int32(0)

    def update(masks, calls, ctx):
        if ctx.may_update is False:
            return masks, calls + 1
        now = jnp.asarray(ctx.may_update) & due(ctx.step)
        moved = jax.tree.map(lambda m: jnp.roll(m, 1, 0) if m.ndim else m, masks)
        return jax.tree.map(lambda a, b: jnp.where(now, a, b), moved, masks), calls + 1

    def due(step):
        return (step > 0) & (step % 3 == 0)

    return MaskTransform(init, update, due)


ROLL = rolling()


def grow_at_half(path, mask, grad, key):
    """First values of either sign, which no product rounds."""
    return jax.random.rademacher(key, grad.shape, grad.dtype) / 2


@pytest.fixture(autouse=True)
def arithmetic():  # replaces that of this folder
    """Flax and Optax mix types; gpnas.masks, called by them, is tested without."""


def loss(params, x=X):
    hidden = jnp.tanh(x @ params["a"]["kernel"] + params["a"]["bias"])
    return jnp.mean((hidden @ params["b"]["kernel"] + params["b"]["bias"] - 1) ** 2)


def step(tx, params, state, x=X):
    """A training loop's step, which knows nothing of masks."""
    updates, state = tx.update(jax.grad(loss)(params, x), state, params)
    return optax.apply_updates(params, updates), state


def n_active(masks):
    return sum(int(m.sum()) for m in masked_leaves(masks).values())


def check(params, state):
    """Inactive weights are zero, to the bit; returns the number of active ones."""
    masks = masked_leaves(masks_of(state))
    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    weights = {tree.path_name(path): np.asarray(leaf) for path, leaf in flat}
    for path, mask in masks.items():
        assert (weights[path][~np.asarray(mask)] == 0).all(), path
    return n_active(masks)


def train(tx, steps=8, params=PARAMS):
    """Params and state after some steps, checked at each; numbers of active weights."""
    state = jax.jit(tx.init)(params)
    params = sparse_params(params, state)
    # Twice, if the first call changes shardings.
    compiled = jax.jit(traces.at_most(2, functools.partial(step, tx)))
    counts = [check(params, state)]
    for _ in range(steps):
        params, state = compiled(params, state)
        counts.append(check(params, state))
    return params, state, counts


def grown(tx, state, params=PARAMS):
    """Number of weights that are active now, but were not in the beginning."""
    first = masks_of(tx.init(params))
    return sum(map(int, summary.changes(first, masks_of(state))[0].values()))


@pytest.mark.slow
@pytest.mark.parametrize(("transform", "init"), [(RIGL, None), (ROLL, grow_at_half)])
def test_two_lines_are_the_ten_of_a_loop_by_hand(transform, init):
    """The same masks, params and moments, to the bit; powers of two make products exact."""
    tx = optax.chain(optax.add_decayed_weights(2**-4), optax.sgd(2**-4, momentum=0.5))
    wrapped = sparsify(tx, transform, KEY, grow_init=init)
    params, state, _ = train(wrapped, 8)

    _, mask_key, key = jax.random.split(KEY, 3)
    masks, mask_state = transform.init(init_masks(PARAMS), PARAMS, mask_key)
    carry = (apply(masks, PARAMS), masks, mask_state, tx.init(apply(masks, PARAMS)))

    @jax.jit
    def by_hand(i, params, masks, mask_state, opt_state):
        grads = jax.grad(loss)(params)
        context = MaskContext(i, params, grads, jax.random.fold_in(key, i))
        old, (masks, mask_state) = masks, transform.update(masks, mask_state, context)
        more = {} if init is None else {"init": init}
        params, opt_state = transition(
            tx, old, masks, params, opt_state, grads=grads, key=context.key, **more
        )
        updates, opt_state = tx.update(apply(masks, grads), opt_state, params)
        return apply(masks, optax.apply_updates(params, updates)), masks, mask_state, opt_state

    for i in range(8):
        carry = by_hand(jnp.int32(i), *carry)
    inner = (params, state.masks, state.mask_state, state.inner)
    for ours, other in zip(*map(jax.tree.leaves, (inner, carry)), strict=True):
        np.testing.assert_array_equal(ours, other)
    assert grown(wrapped, state) > 5


@pytest.mark.slow
def test_params_that_were_never_masked_are_zero_after_one_update():
    tx = sparsify(optax.adamw(0.01, weight_decay=0.1), ROLL, KEY)
    state = tx.init(PARAMS)
    assert check(*step(tx, PARAMS, state)) == ACTIVE


@pytest.mark.parametrize("params_dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("updates_dtype", ["float32", "bfloat16"])
def test_zeros_are_exact_in_every_precision(params_dtype, updates_dtype):
    params = jax.tree.map(lambda p: p.astype(params_dtype), PARAMS)
    half = optax.stateless(lambda u, _: jax.tree.map(lambda g: g.astype(updates_dtype), u))
    tx = sparsify(optax.chain(optax.sgd(0.1, momentum=0.9), half), ROLL, KEY)
    after, _, counts = train(tx, 4, params)
    assert set(counts) == {ACTIVE} and after["a"]["kernel"].dtype == params_dtype


INSIDE = sparsify(ADAM, ROLL, KEY)
WRAPPERS = {
    "after a clip": optax.chain(optax.clip_by_global_norm(1.0), INSIDE),
    "before": optax.chain(INSIDE, optax.identity()),
    "named_chain": optax.named_chain(("clip", optax.clip(1.0)), ("sparse", INSIDE)),
    "inject_hyperparams": optax.inject_hyperparams(
        lambda rate: sparsify(optax.adam(rate), ROLL, KEY)
    )(rate=0.01),
    "inject_hyperparams inside": sparsify(
        optax.inject_hyperparams(optax.adam)(optax.linear_schedule(0.01, 0.0, 20)), ROLL, KEY
    ),
    "apply_if_finite": optax.apply_if_finite(INSIDE, 3),
    "apply_if_finite inside": sparsify(optax.apply_if_finite(ADAM, 3), ROLL, KEY),
    "partition inside": sparsify(
        optax.partition({"x": ADAM, "y": optax.sgd(0.1)}, {"a": "x", "b": "y"}), ROLL, KEY
    ),
    "freeze inside": sparsify(optax.chain(ADAM, optax.freeze({"a": True, "b": False})), ROLL, KEY),
    "partition": optax.partition(
        {"x": INSIDE, "y": sparsify(optax.sgd(0.1), ROLL, KEY)}, {"a": "x", "b": "y"}
    ),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_of_optax(name):
    _, state, counts = train(WRAPPERS[name], 4)
    assert set(counts) == {ACTIVE}
    assert float(density_of(state)) == 0.25
    assert grown(WRAPPERS[name], state) > 5


@pytest.mark.parametrize(
    "tx",
    [
        optax.masked(INSIDE, {"a": True, "b": False}),
        optax.partition({"x": INSIDE, "y": optax.sgd(0.1)}, {"a": "x", "b": "y"}),
    ],
)
def test_leaves_of_other_optimizers_are_not_masked(tx):
    params, state, counts = train(tx, 4)
    assert set(counts) == {64} and int((params["a"]["kernel"] != 0).sum()) == 64
    assert (params["b"]["kernel"] != 0).all()
    masks = masks_of(state)
    assert apply(masks, params)["b"] is params["b"] and float(density_of(state)) == 0.25


def test_mask_updates_fall_on_real_steps():
    """Twelve gradients are four steps of three; the mask update due at step 3 is in the fourth."""
    tx = optax.MultiSteps(INSIDE, 3)
    state = tx.init(PARAMS)
    params, compiled = sparse_params(PARAMS, state), jax.jit(functools.partial(step, tx))
    for i in range(12):
        old = params
        params, state = compiled(params, state, jax.random.normal(jax.random.key(i), X.shape))
        assert check(params, state) == ACTIVE
        assert (grown(tx, state) > 0) == (i == 11)
        moved = (params["a"]["kernel"] != old["a"]["kernel"]).any()
        assert bool(moved) == (i % 3 == 2)


@pytest.mark.slow
def test_gradients_that_are_not_finite_defer_a_mask_update():
    """To the next step, at which no mask update is due."""
    tx = sparsify(optax.sgd(0.1), RIGL, KEY)
    state = tx.init(PARAMS)
    params = sparse_params(PARAMS, state)
    compiled = jax.jit(tx.update)
    for i in range(5):
        grads = jax.grad(loss)(params)
        if i == 3:
            grads["a"]["kernel"] = jnp.where(state.masks["a"]["kernel"], 0.1, jnp.nan)
        updates, state = compiled(grads, state, params)
        params = optax.apply_updates(params, updates)
        assert check(params, state) == ACTIVE
        assert (grown(tx, state) > 0) == (i == 4)
    assert finite.skipped(state.mask_state) == 1
    assert all(np.isfinite(p).all() for p in jax.tree.leaves(params))


def test_a_filter_and_combinators():
    tx = sparsify(ADAM, every(masked(ROLL, "a/*"), 6), KEY, where="*kernel")
    params, state, counts = train(tx, 7)
    assert set(counts) == {64 + 128} and grown(tx, state) > 0
    assert (params["b"]["kernel"] != 0).all()


def test_biases_of_stacked_layers_are_not_masked():
    params = {"layers": {"kernel": jnp.ones((3, 8, 8)), "bias": jnp.ones((3, 8))}}
    axes = {"layers/*": Axes(batch_axis=0)}
    tx = sparsify(ADAM, unstacked(ROLL, axes), KEY, axes=axes)
    shapes = jax.tree.map(jnp.shape, masks_of(tx.init(params)))
    assert shapes == {"layers": {"kernel": (3, 8, 8), "bias": ()}}


def test_a_plain_step_does_not_call_for_a_mask_update():
    """Masks do not change where `may_change` is False, whatever `update` would do."""
    never = MaskTransform(
        ROLL.init,
        lambda masks, state, ctx: (
            jax.tree.map(jnp.zeros_like, masks) if ctx.may_update is not False else masks,
            state,
        ),
        lambda step: step == 2,
    )
    tx = sparsify(ADAM, never, KEY)
    assert train(tx, 4)[2] == [ACTIVE] * 3 + [0] * 2


@pytest.mark.slow
def test_scan_and_vmap_over_seeds_and_donation():
    tx = sparsify(ADAM, ROLL, KEY)
    compiled = jax.jit(functools.partial(step, tx), donate_argnums=(0, 1))

    def start(key):
        state = sparsify(ADAM, ROLL, key).init(PARAMS)
        return sparse_params(PARAMS, state), state

    def scanned(key):
        return jax.lax.scan(lambda c, _: (step(tx, *c), None), start(key), length=5)[0]

    keys = jnp.stack([KEY, jax.random.key(7)])
    many = jax.jit(jax.vmap(scanned))(keys)
    for i in range(2):
        carry = jax.tree.map(jnp.copy, start(keys[i]))
        for _ in range(5):
            carry = compiled(*carry)
        one = jax.tree.map(lambda leaf, i=i: leaf[i], many)
        assert check(*one) == check(*carry) == ACTIVE
        for a, b in zip(*(jax.tree.leaves(masks_of(s)) for _, s in (one, carry)), strict=True):
            np.testing.assert_array_equal(a, b)
    a, b = masks_of(many[1])["a"]["kernel"]
    assert (a != b).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["multi steps", "apply if finite", "multi transform"])
def test_seeds_under_a_wrapper_are_those_of_each_alone(name):
    """Scanned and mapped over seeds; a run for each seed has the same masks."""

    def scanned(key):
        inner = sparsify(optax.sgd(0.125), RIGL, key)
        tx = {
            "multi steps": optax.MultiSteps(inner, 2),
            "apply if finite": optax.apply_if_finite(inner, 3),
            "multi transform": optax.partition(
                {"x": inner, "y": optax.sgd(0.1)}, {"a": "x", "b": "y"}
            ),
        }[name]
        state = tx.init(PARAMS)
        start = sparse_params(PARAMS, state), state
        return jax.lax.scan(lambda c, _: (step(tx, *c), None), start, length=8)[0]

    keys = jnp.stack([KEY, jax.random.key(7)])
    many, alone = jax.jit(jax.vmap(scanned))(keys), jax.jit(scanned)
    for i in range(2):
        one, each = jax.tree.map(lambda leaf, i=i: leaf[i], many), alone(keys[i])
        assert check(*one) == check(*each) == (64 if name == "multi transform" else ACTIVE)
        for a, b in zip(*(jax.tree.leaves(masks_of(s)) for _, s in (one, each)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_mesh_with_sharded_params():
    _, expected, _ = train(sparsify(ADAM, ROLL, KEY), 4)
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    put = {"kernel": NamedSharding(mesh, P(None, "x")), "bias": NamedSharding(mesh, P())}
    params = jax.tree.map(jax.device_put, PARAMS, {"a": put, "b": put})
    params, state, counts = train(sparsify(ADAM, ROLL, KEY), 4, params)
    assert set(counts) == {ACTIVE}
    for a, b in zip(*map(jax.tree.leaves, (masks_of(state), masks_of(expected))), strict=True):
        np.testing.assert_array_equal(a, b)
    assert params["a"]["kernel"].sharding.spec == P(None, "x")


class Net(nn.Module):
    """Two layers; with axes, its params are boxed."""

    boxed: bool = False

    @nn.compact
    def __call__(self, x):
        init, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        if self.boxed:
            init = nn.with_partitioning(init, (None, "x"))
            zeros = nn.with_partitioning(zeros, ("x",))
        for width in (16, 8):
            x = nn.tanh(nn.Dense(width, kernel_init=init, bias_init=zeros)(x))
        return x


@pytest.mark.parametrize("boxed", [False, True])
def test_a_linen_train_state(boxed):
    net = Net(boxed)
    params = net.init(KEY, X)["params"]
    ts = TrainState.create(apply_fn=net.apply, params=params, tx=sparsify(ADAM, ROLL, KEY))
    ts = ts.replace(params=sparse_params(ts.params, ts.opt_state))
    first = jax.tree.map(np.asarray, masks_of(ts.opt_state))

    @jax.jit
    def update(ts):
        def value(params):
            return jnp.mean((ts.apply_fn({"params": params}, X) - 1) ** 2)

        return ts.apply_gradients(grads=jax.grad(value)(ts.params))

    for _ in range(4):
        ts = update(ts)
        assert check(ts.params, ts.opt_state) == ACTIVE
    assert sum(map(int, summary.changes(first, masks_of(ts.opt_state))[0].values())) > 5
    if boxed:  # a scalar mask has no axis to shard
        spec = nn.get_partition_spec(ts.opt_state).masks["Dense_0"]
        assert spec["kernel"] == P(None, "x") and spec["bias"] == P()
    else:
        again = serialization.from_bytes(ts, serialization.to_bytes(ts))
        for a, b in zip(*map(jax.tree.leaves, (ts, again)), strict=True):
            np.testing.assert_array_equal(a, b)


class NnxNet(nnx.Module):
    """Two layers and a norm; with axes, its params are sharded."""

    def __init__(self, rngs, axes=False):
        init, zeros = nnx.initializers.lecun_normal(), nnx.initializers.zeros
        if axes:
            init = nnx.with_partitioning(init, (None, "x"))
            zeros = nnx.with_partitioning(zeros, ("x",))
        self.a = nnx.Linear(16, 16, rngs=rngs, kernel_init=init, bias_init=zeros)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.b = nnx.Linear(16, 8, rngs=rngs, kernel_init=init, bias_init=zeros)

    def __call__(self, x):
        return self.b(nnx.relu(self.norm(self.a(x))))


def nnx_loss(model):
    return jnp.mean((model(X) - 1) ** 2)


@pytest.mark.slow
@pytest.mark.parametrize("axes", [False, True])
def test_an_nnx_optimizer(axes):
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    with jax.set_mesh(mesh) if axes else contextlib.nullcontext():
        model = NnxNet(nnx.Rngs(0), axes)
        optimizer = nnx.Optimizer(model, sparsify(ADAM, ROLL, KEY), wrt=nnx.Param)
        params = nnx.state(model, nnx.Param)
        nnx.update(model, sparse_params(params, optimizer.opt_state))
        first = masks_of(optimizer.opt_state)

        @nnx.jit
        def update(model, optimizer):
            optimizer.update(model, nnx.grad(nnx_loss)(model))

        for _ in range(4):
            update(model, optimizer)
            params = nnx.state(model, nnx.Param)
            assert check(params, optimizer.opt_state) == ACTIVE
        masks = masks_of(optimizer.opt_state)
        assert sum(map(int, summary.changes(first, masks)[0].values())) > 5
        assert all(isinstance(mask, jax.Array) for mask in jax.tree.leaves(masks))
        assert (apply(masks, params)["a"]["kernel"] == params["a"]["kernel"]).all()
        if axes:
            assert model.a.kernel.get_value().sharding.spec == P(None, "x")


def test_nnx_params_in_a_loop_of_plain_optax():
    graph, params, rest = nnx.split(NnxNet(nnx.Rngs(0)), nnx.Param, ...)
    tx = sparsify(ADAM, ROLL, KEY)
    state = tx.init(params)
    params = sparse_params(params, state)

    @jax.jit
    def update(params, state):
        grads = jax.grad(lambda p: nnx_loss(nnx.merge(graph, p, rest, copy=True)))(params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(4):
        params, state = update(params, state)
        assert check(params, state) == ACTIVE


def test_an_equinox_module():
    """With integer leaves, which have no gradient, and functions, which are no arrays."""
    eqx = pytest.importorskip("equinox")

    class Model(eqx.Module):
        mlp: eqx.nn.MLP
        table: jax.Array

        def __call__(self, x):
            return self.mlp(x)

    model = Model(eqx.nn.MLP(16, 8, 16, 1, key=KEY), jnp.arange(6).reshape(2, 3))
    tx = sparsify(optax.sgd(0.1), ROLL, KEY)  # Adam's states cannot hold such leaves
    state = tx.init(eqx.filter(model, eqx.is_array))
    model, first = sparse_params(model, state), masks_of(state)

    @eqx.filter_jit
    def update(model, state):
        grads = eqx.filter_grad(lambda m: jnp.mean((jax.vmap(m)(X) - 1) ** 2))(model)
        updates, state = tx.update(grads, state, eqx.filter(model, eqx.is_array))
        return eqx.apply_updates(model, updates), state

    for _ in range(4):
        model, state = update(model, state)
        assert check(model, state) == ACTIVE
    assert sum(map(int, summary.changes(first, masks_of(state))[0].values())) > 5


def test_the_mask_state_is_part_of_every_checkpoint():
    """Taken apart and put together in the middle, a run goes on to the bit."""
    tx = sparsify(ADAM, ROLL, KEY)
    params, state, _ = train(tx, 4)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves((params, state))]
    again = jax.tree.unflatten(jax.tree.structure((params, state)), leaves)
    carry = (params, state)
    compiled = jax.jit(functools.partial(step, tx))
    for _ in range(4):
        carry, again = compiled(*carry), compiled(*again)
    for a, b in zip(*map(jax.tree.leaves, (carry, again)), strict=True):
        np.testing.assert_array_equal(a, b)


def refusal(f):
    with pytest.raises(ValueError, match="got .* allowed: ") as refused:
        f()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_mistakes_are_refused_in_one_line():
    class Method:
        transform = ROLL

    assert "an optimizer" in refusal(lambda: sparsify(optax.adam, ROLL, KEY))
    assert "a key" in refusal(lambda: sparsify(ADAM, ROLL, 0))
    state = INSIDE.init(PARAMS)
    wide = jax.tree.map(lambda p: p[None], PARAMS)
    assert "methods.mask_transform" in refusal(lambda: sparsify(ADAM, Method(), KEY))
    assert "MaskTransform" in refusal(lambda: sparsify(ADAM, ADAM, KEY))
    assert "MultiSteps(sparsify" in refusal(
        lambda: sparsify(optax.chain(ADAM, optax.MultiSteps(ADAM, 2)), ROLL, KEY).init(PARAMS)
    )
    assert "one `sparsify`" in refusal(lambda: sparsify(INSIDE, ROLL, KEY).init(PARAMS))
    assert "opt_state, params" in refusal(lambda: INSIDE.update(PARAMS, state))
    assert "a/bias" in refusal(lambda: INSIDE.update(wide, state, PARAMS))
    assert "sparsify" in refusal(lambda: masks_of(ADAM.init(PARAMS)))
    assert "a/kernel" in refusal(lambda: sparse_params({"params": PARAMS}, state))
    assert "a/bias" in refusal(lambda: sparsify(ADAM, ROLL, KEY, where="c/*").init(PARAMS))
    assert "where" in refusal(
        lambda: sparsify(ADAM, ROLL, KEY, where=lambda path, leaf: False).init(PARAMS)
    )
    both = optax.LookaheadParams.init_synced(PARAMS)
    assert "transition" in refusal(
        lambda: sparsify(optax.lookahead(ADAM, 5, 0.5), ROLL, KEY).init(both)
    )


def test_masks_of_merges_what_several_optimizers_carry():
    masks = masks_of(WRAPPERS["partition"].init(PARAMS))
    assert jax.tree.structure(masks) == jax.tree.structure(PARAMS)
    assert n_active(masks) == ACTIVE and update_leaves(masks, {})["a"]["bias"]
