"""What units cost: against XLA's own count, against smaller functions, and one unit at a time."""

import functools

import jax
import jax.numpy as jnp
import nets
import numpy as np
import pytest
from nets import NETS, Net

from gpnas import units
from gpnas.errors import UserError
from gpnas.masks import MaskContext, score
from gpnas.models import CellNet, LeNet5, LeNet300, ResNet, removable_blocks

pytestmark = pytest.mark.usefixtures("lenient")

OURS = {
    "lenet300": (LeNet300(), (28, 28, 1)),
    "lenet5": (LeNet5(), (28, 28, 1)),
    "resnet8": (ResNet(width=8), (32, 32, 3)),
}


@functools.cache
def counted(name: str) -> tuple[Net, units.UnitGroups, units.CostModel]:
    if name in OURS:
        module, shape = OURS[name]
        net = nets.linen(module, jnp.ones((1, *shape)))
    else:
        net = NETS[name]()
    arguments = (net.apply, net.variables, *net.inputs)
    return net, units.discover(*arguments), units.cost_model(*arguments)


def some_masks(groups: units.UnitGroups, seed: int = 0) -> dict[str, np.ndarray]:
    """About half of the units of each group, one of them at least."""
    random = np.random.default_rng(seed)
    return {g.name: random.permutation(g.size) < (g.size + 1) // 2 for g in groups.groups}


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_totals_are_those_that_xla_counts(name):
    net, groups, model = counted(name)
    masks = some_masks(groups)
    compact = units.compact(net.apply, net.variables, groups, masks)
    for (apply, variables), active in (((net.apply, net.variables), {}), (compact, masks)):
        lowered = jax.jit(apply).lower(variables, *net.inputs)
        flops = lowered.compile().cost_analysis()["flops"]
        assert units.total_cost(model, active, "flops") == pytest.approx(flops, rel=0.01)
        if name == "lenet300":
            assert units.total_cost(model, active, "flops") == flops


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet", "resnext", "densenet", "vit", "llama", "groupnorm"])
def test_totals_are_those_of_the_smaller_function(name):
    net, groups, model = counted(name)
    masks = some_masks(groups)
    apply, variables = units.compact(net.apply, net.variables, groups, masks)
    small = units.cost_model(apply, variables, *net.inputs)
    for kind in ("params", "macs"):
        assert units.total_cost(model, masks, kind) == units.total_cost(small, {}, kind)
    params = sum(np.size(leaf) for leaf in jax.tree.leaves(variables))
    assert units.total_cost(model, masks, "params") == params


@pytest.mark.slow
@pytest.mark.parametrize("kind", units.KINDS)
@pytest.mark.parametrize("name", ["resnext", "vit", "branches", "densenet"])
def test_a_unit_costs_what_the_total_falls_by_without_it(name, kind):
    """`branches` has a kernel of which both axes are of the unit itself."""
    _, groups, model = counted(name)
    masks = some_masks(groups, seed=1)
    found = units.unit_cost(model, masks, kind)
    traced = jax.jit(lambda m: units.unit_cost(model, m, kind))(jax.tree.map(jnp.asarray, masks))
    for group in groups.groups:
        for unit in range(group.size):
            present, absent = masks[group.name].copy(), masks[group.name].copy()
            present[unit], absent[unit] = True, False
            with_it = units.total_cost(model, {**masks, group.name: present}, kind)
            without = units.total_cost(model, {**masks, group.name: absent}, kind)
            assert found[group.name][unit] == pytest.approx(with_it - without)
        np.testing.assert_allclose(traced[group.name], found[group.name], rtol=1e-5)


def test_costs_of_a_dense_unit_by_hand():
    _, _, model = counted("lenet300")
    first, second = "params/Dense_0/kernel:1", "params/Dense_1/kernel:1"
    masks = {second: np.arange(100) < 40}
    assert set(units.unit_cost(model, masks, "params")[first]) == {784 + 1 + 40}
    assert set(units.unit_cost(model, masks, "macs")[first]) == {784 + 40}
    assert set(units.unit_cost(model, masks, "macs")[second]) == {300 + 10}


@pytest.mark.slow
def test_scores_are_divided_by_costs():
    net, groups, model = counted("lenet300")
    params = {"params": net.variables["params"]}
    context = MaskContext(jnp.int32(0), params, params, jax.random.key(0))
    costs = units.unit_cost(model, some_masks(groups))
    plain = units.score.magnitude(groups)
    values, whole = score.per_cost(plain, costs).value({}, context), plain.value({}, context)
    for name, cost in costs.items():
        np.testing.assert_allclose(values[name] * cost, whole[name], rtol=1e-6)


def test_a_scans_body_counts_for_each_turn():
    params = {"a": jnp.ones((3, 5, 5)), "b": jnp.ones((5, 2))}

    def apply(p, x):
        return jax.lax.scan(lambda x, w: (jnp.sin(x @ w), None), x, p["a"])[0] @ p["b"]

    model = units.cost_model(apply, params, jnp.ones((4, 5)))
    assert units.total_cost(model, {}) == 4 * (3 * 5 * 5 + 5 * 2)


@pytest.mark.parametrize(
    ("masks", "kind", "message"),
    [
        ({"nobody": np.ones(3, bool)}, "macs", "nobody"),
        ({"params/Dense_0/kernel:1": np.ones(3, bool)}, "macs", r"\(300,\) bool"),
        ({}, "joules", "params, macs, flops"),
    ],
)
def test_what_is_not_there_is_a_users_mistake(masks, kind, message):
    _, _, model = counted("lenet300")
    for cost in (units.total_cost, units.unit_cost):
        with pytest.raises(UserError, match=message):
            cost(model, masks, kind)


BLOCKS = {
    "resnet": (ResNet(width=4, blocks=2), ResNet(width=4, blocks=2, inner=(0, 4, 0, 8, 16, 0))),
    "cellnet": (
        CellNet(channels=4, operations=((0, "conv3"), (3, "skip"), (2, "conv1"), (4, "conv3"))),
        CellNet(channels=4, operations=((3, "skip"), (2, "conv1"))),
    ),
}


def test_what_is_added_to_a_block_stays_without_it():
    shapes = {"a": (5, 3), "b": (3, 4), "c": (4, 2)}
    params = {name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in shapes.items()}

    def gated(p, x, offset):
        return (offset + x @ p["a"] @ p["b"]) @ p["c"]

    for offset, left in ((1.0, 4 * 2), (0.0, 0)):
        apply = functools.partial(gated, offset=offset)
        model = units.cost_model(apply, params, jnp.ones((1, 5)), blocks={"gate": ("[ab]", "b")})
        assert units.total_cost(model, {"block:gate": np.array([False])}) == left


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_costs_what_the_network_without_it_does_not(name):
    (whole, part), image = BLOCKS[name], jnp.ones((1, 8, 8, 3))
    sizes = [jax.eval_shape(net.init, jax.random.key(0), image) for net in (whole, part)]
    blocks = removable_blocks(whole)
    model = units.cost_model(whole.apply, sizes[0], image, blocks=blocks)
    small = units.cost_model(part.apply, sizes[1], image, blocks=removable_blocks(part))
    left = {path for path, _ in jax.tree.leaves_with_path(sizes[1])}
    there = {path for path, _ in jax.tree.leaves_with_path(sizes[0])}
    masks = {
        f"block:{block}": np.array([not any(block in str(path) for path in there - left)])
        for block in blocks
    }
    assert not all(mask.all() for mask in masks.values())
    for kind in units.KINDS:
        rel = 0.01 if kind == "flops" else 1e-12  # the sum of a block and its input stays
        expected = units.total_cost(small, {}, kind)
        assert units.total_cost(model, masks, kind) == pytest.approx(expected, rel=rel)
        for block in masks:
            with_it, without = (
                units.total_cost(model, masks | {block: np.array([on])}, kind)
                for on in (True, False)
            )
            (found,) = units.unit_cost(model, masks, kind)[block]
            assert found == pytest.approx(with_it - without) and found >= 0
    table = units.measure_layers(model, fractions=(1.0,), rounds=1)
    inside = [layer for layer in model.layers if layer.blocks]
    spent = units.total_latency(model, {}, table) - units.total_latency(
        model, dict.fromkeys(masks, np.array([False])), table
    )
    assert inside and spent == pytest.approx(
        sum(layer.repeats * np.max(table[layer.key]["ms"]) for layer in inside)
    )
