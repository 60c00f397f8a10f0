"""Networks that grow and shrink: exact operators keep the function, all give networks that fit."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas._files import tuples
from gpnas.errors import UserError
from gpnas.masks.tree import leaves_by_path
from gpnas.models import network_macs
from gpnas.search.morphable import (
    APPROXIMATE,
    EXACT,
    Morphable,
    architecture_macs,
    architecture_params,
    change,
    check_architecture,
    cut,
    grow,
    inherit,
    morphable,
)

pytestmark = pytest.mark.slow

IMAGE = (6, 6, 2)
SPACES = {
    "conv": morphable(IMAGE, 3, "conv", widths=(3, 4), pools=1),
    "dense": morphable(IMAGE, 3, "dense", widths=(3, 5)),
}


@functools.cache
def parents(count):
    """Random networks: a small one, and up to five operators of any kind."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        space = SPACES["dense" if seed % 3 == 2 else "conv"]
        architecture = space.sample(rng)
        operators = [*EXACT.values(), *APPROXIMATE.values()]
        for _ in range(int(rng.integers(6))):
            architecture = change(architecture, rng, operators) or architecture
        found.append(architecture)
    return found


@functools.cache
def structure(architecture):
    key, images = jax.random.key(0), jnp.zeros((1, *IMAGE))
    return jax.eval_shape(Morphable(architecture).init, key, images)


def drawn(architecture, seed):
    """Random variables, with batch statistics and factors of additions that are not trivial."""
    rng = np.random.default_rng(seed)

    def leaf(path, like):
        name = path[-1].key
        if name == "var":
            return jnp.asarray(rng.uniform(0.5, 2, like.shape), jnp.float32)
        spread = 1 / np.sqrt(np.prod(like.shape[:-1])) if name == "kernel" else 0.3
        return jnp.asarray(spread * rng.normal(size=like.shape) + (name == "scale"), jnp.float32)

    return jax.tree.map_with_path(leaf, structure(architecture))


def images(seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(2, *IMAGE)), jnp.float32)


def outputs(architecture, variables, seed):
    with jax.disable_jit():
        return np.asarray(Morphable(architecture).apply(variables, images(seed)))


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def test_exact_operators_keep_the_function():
    names, checked = list(EXACT), dict.fromkeys(EXACT, 0)
    for seed, parent in enumerate(parents(60)[:40]):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, 4))
        first = names[seed % len(names)]
        child = EXACT[first](parent, rng)
        if child is None:
            continue
        child = change(child, rng, [*EXACT.values()], count - 1) or child
        checked[first] += 1
        variables = drawn(parent, seed)
        begun, kept = inherit(parent, child, variables, drawn(child, seed + 1))
        assert shapes(begun) == shapes(structure(child))
        assert jax.tree.structure(kept) == jax.tree.structure(begun["params"])
        expected = outputs(parent, variables, seed)
        found = outputs(child, begun, seed)
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max(), (
            first, parent, child,
        )  # fmt: skip
    assert min(checked.values()) >= 2 and sum(checked.values()) >= 24


def test_calibrated_insertions_keep_the_function_in_inference():
    done = 0
    for seed, parent in enumerate(parents(60)[:20]):
        child = EXACT["insert_conv"](parent, np.random.default_rng(seed))
        if child is None:
            continue
        variables, batch = drawn(parent, seed), images(seed)
        begun, _ = inherit(parent, child, variables, drawn(child, 1), images=batch)
        expected, found = outputs(parent, variables, seed), outputs(child, begun, seed)
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
        done += 1
    assert done >= 7


def completed(architecture, variables, batch):
    """With running statistics that are the batch's: an update from 0 takes a tenth of them."""
    empty = {**variables, "batch_stats": jax.tree.map(jnp.zeros_like, variables["batch_stats"])}
    _, state = Morphable(architecture).apply(empty, batch, True, mutable="batch_stats")
    return {**variables, "batch_stats": jax.tree.map(lambda x: 10 * x, state["batch_stats"])}


def in_training(architecture, variables, batch):
    return Morphable(architecture).apply(variables, batch, True, mutable="batch_stats")[0]


def test_calibrated_insertions_keep_the_function_in_training_too():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        parent = SPACES["conv"].sample(rng)
        child = change(parent, rng, [EXACT["insert_conv"]], 1 + seed % 2)
        batch = jnp.asarray(rng.normal(size=(16, *IMAGE)), jnp.float32)
        variables, fresh = completed(parent, drawn(parent, seed), batch), drawn(child, 1)
        expected = in_training(parent, variables, batch)
        close = 1e-4 * np.abs(expected).max()
        begun, _ = inherit(parent, child, variables, fresh, images=batch)
        assert np.abs(in_training(child, begun, batch) - expected).max() <= close
        blind, _ = inherit(parent, child, variables, fresh)
        assert np.abs(in_training(child, blind, batch) - expected).max() > 100 * close


def test_approximate_operators_give_networks_that_fit():
    done = dict.fromkeys(APPROXIMATE, 0)
    for seed, parent in enumerate(parents(60)[:20]):
        for name, operator in APPROXIMATE.items():
            child = operator(parent, np.random.default_rng(seed))
            if child is None:
                continue
            done[name] += 1
            check_architecture(child)
            begun, kept = inherit(parent, child, drawn(parent, seed), drawn(child, seed + 1))
            assert shapes(begun) == shapes(structure(child))
            assert jax.tree.reduce(lambda a, b: a or bool(b.any()), kept, False)
    assert min(done.values()) >= 5


def test_pruned_layers_keep_their_largest_filters():
    parent = SPACES["dense"].sample(np.random.default_rng(0))
    layer = next(row for row in parent.layers if row.op == "dense")
    narrow = [row._replace(width=2) if row.id == layer.id else row for row in parent.layers]
    child = parent._replace(layers=tuple(narrow))
    variables = drawn(parent, 0)
    begun, kept = inherit(parent, child, variables, drawn(child, 1))
    name = f"layer_{layer.id}"
    kernel = np.asarray(variables["params"][name]["dense"]["kernel"])
    largest = np.sort(np.argsort(-np.linalg.norm(kernel, axis=0))[:2])
    np.testing.assert_array_equal(begun["params"][name]["dense"]["kernel"], kernel[:, largest])
    assert np.asarray(kept[name]["dense"]["kernel"]).all()


def test_parameters_and_macs_are_counted():
    for architecture in parents(60):
        tree = structure(architecture)["params"]
        assert architecture_params(architecture) == sum(leaf.size for leaf in jax.tree.leaves(tree))
    for architecture in parents(60)[::12]:
        variables = structure(architecture)
        macs = network_macs(Morphable(architecture), variables, IMAGE)
        sizes = {path: x.size for path, x in leaves_by_path(variables["params"]).items()}
        counted = sum(n * sizes[path] for path, n in macs.per_weight.items())
        assert architecture_macs(architecture) == counted


def test_architectures_survive_json():
    for architecture in parents(60):
        again = tuples(json.loads(json.dumps(architecture)))
        assert again == architecture and hash(again) == hash(architecture)
        check_architecture(again)
        assert architecture_params(again) == architecture_params(architecture)
        assert shapes(structure(again)) == shapes(structure(architecture))


@pytest.mark.parametrize("name", SPACES)
def test_the_space(name):
    space, rng = SPACES[name], np.random.default_rng(0)
    architecture = space.sample(rng)
    for _ in range(30):
        child = space.mutate(architecture, rng)
        space.check(child)
        assert child != architecture
        assert space.encode(child).shape == space.encode(architecture).shape
        assert space.cost(child)["params"] == architecture_params(child)
        larger, smaller = grow(architecture, rng), cut(architecture, rng)
        assert larger is None or architecture_params(larger) > architecture_params(architecture)
        assert smaller is None or architecture_params(smaller) < architecture_params(architecture)
        architecture = child if architecture_params(child) < 5000 else space.sample(rng)
    for other in space.neighbours(architecture):
        space.check(other)
    limited = morphable(IMAGE, 3, "conv", widths=(3, 4), pools=1, most_params=800)
    walk = limited.sample(rng)
    for _ in range(20):
        walk = limited.mutate(walk, rng)
        assert architecture_params(walk) <= 800


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((IMAGE, ((1, "conv", (0,), 4, 2),), 3, 2), "odd kernel"),
        ((IMAGE, ((1, "conv", (5,), 4, 3),), 3, 2), "earlier inputs"),
        ((IMAGE, ((1, "magic", (0,), 4, 3),), 3, 2), "one of conv"),
        ((IMAGE, ((1, "pool", (0,), 0, 0),), 3, 2), "one of"),
        ((IMAGE, ((1, "conv", (0,), 4, 3), (2, "add", (1, 0), 0, 0)), 3, 3), "one shape"),
        (("conv",), "layers of"),
    ],
)
def test_what_is_no_architecture(wrong, message):
    with pytest.raises(UserError, match=message):
        check_architecture(wrong)
