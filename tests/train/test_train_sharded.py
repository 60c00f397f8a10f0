"""A state that is split over eight devices: the same training, no scores sent."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from experiments.benchmarks.collectives import collectives
from gpnas.errors import UserError
from gpnas.train import (
    _checkpoint,
    _observe,
    init_state,
    make_plan,
    make_program,
    make_step,
    shardings,
    train,
    train_replicas,
)
from tests.cases import some

MIN_SIZE = 256
RUN = """
import json, pathlib, sys
from ml_collections import ConfigDict
from gpnas import data
from gpnas.train import train

config, folder = ConfigDict(json.loads(sys.argv[1])), pathlib.Path(sys.argv[2])
train(config, folder, data.load("digits"))
"""


@pytest.fixture(scope="module")
def config(tiny):
    config = tiny(name="development", density=0.1, peak=3.0, every=5)
    config.train.epochs = 2
    return config


def sharded(config, loop="scan"):
    config = config.copy_and_resolve_references()
    config.train.shard_min_size, config.train.loop = MIN_SIZE, loop
    return config


def mesh():
    return Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))


def test_the_largest_axis_that_the_devices_divide_is_split():
    shapes = {
        "kernel": ((64, 32), ("data",)),
        "last of equal": ((3, 3, 64, 64), (None, None, None, "data")),
        "not the largest": ((100, 24), (None, "data")),
        "no such axis": ((100, 30), ()),
        "small": ((8, 16), ()),
        "scalar": ((), ()),
    }
    tree = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, (shape, _) in shapes.items()}
    found = shardings(tree, MIN_SIZE, mesh())
    for name, (_, axes) in shapes.items():
        assert found[name].spec == PartitionSpec(*axes), name
    assert all(x.is_fully_replicated for x in jax.tree.leaves(shardings(tree, 0, mesh())))


@pytest.mark.slow
def test_weights_masks_moments_and_statistics_lie_on_the_same_devices(config, digits):
    program = make_program(make_plan(config, digits), digits, shard_min_size=MIN_SIZE)
    (fresh,) = program.init([jax.random.key(0)])
    placed = program.place([fresh])
    index = np.zeros((1, 7, 64), np.int32)
    after, _ = program.run(placed, index, 1, 0)
    name = "Dense_0"
    for state in (program.place(program.fetch(after)), after):
        of_weights = state.params[name]["kernel"].sharding
        assert not of_weights.is_fully_replicated
        assert state.params[name]["bias"].sharding.is_fully_replicated
        alike = [x for x in jax.tree.leaves(state) if x.shape == state.params[name]["kernel"].shape]
        assert len(alike) == 5  # weights, masks, momentum, two averages
        assert all(x.sharding == of_weights for x in alike)
        assert all(len({s.data.shape for s in x.addressable_shards}) == 1 for x in alike)
    (fetched,) = program.fetch(after)
    for new, old in zip(*map(jax.tree.leaves, (fetched, fresh)), strict=True):
        assert (new.shape, new.dtype, type(new)) == (old.shape, old.dtype, type(old))


def same(a, b):
    """Whether two states have the same masks, and weights up to 1e-5."""
    jax.tree.map(np.testing.assert_array_equal, a.masks, b.masks)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), a.params, b.params)


@pytest.fixture(scope="module")
def replicated(config, digits, all_saves, tmp_path_factory):
    """The record and the last state of a run whose state all devices hold."""
    folder = tmp_path_factory.mktemp("replicated")
    with all_saves() as found:
        record = train(config, folder, digits)
    return record, found[folder][40]


@pytest.mark.slow
@pytest.mark.parametrize("loop", some(["scan", "steps", "segments"], ["segments"]))
def test_training_is_the_same(loop, config, digits, replicated, all_saves, tmp_path):
    with all_saves() as found:
        record = train(sharded(config, loop), tmp_path, digits)
    (one, like), state = replicated, found[tmp_path][40]
    same(state[0], like[0])
    assert sum(int(n) for n in state[0].counters.grown.values()) > 0
    assert record["compilations"] <= 4 and record["evaluations"] == one["evaluations"]
    densities = [[point["density"] for point in found["curve"]] for found in (record, one)]
    assert densities[0] == densities[1]


@pytest.mark.exhaustive
def test_a_checkpoint_is_resumed_on_one_device(
    config, digits, replicated, stop_at, python, tmp_path
):
    with stop_at(20):
        train(sharded(config), tmp_path / "run", digits)
    folder = tmp_path / "run" / "checkpoints"
    assert _checkpoint.steps(folder)[-1] == 20
    alone = config.copy_and_resolve_references()
    alone.train.loop, alone.resume = "scan", True
    done = python("-c", RUN, alone.to_json(), tmp_path / "run", devices=1)
    assert done.returncode == 0, done.stderr
    program = make_program(make_plan(config, digits), digits, shard_min_size=MIN_SIZE)
    fresh = program.init([jax.random.key(0)])
    like = fresh, _observe.no_selections(program, fresh)
    step, ((state,), _) = _checkpoint.restore(folder, like)
    assert step == 40
    same(state, replicated[1][0])
    assert not program.place([state]).params["Dense_0"]["kernel"].sharding.is_fully_replicated


@pytest.mark.slow
def test_a_mask_update_sends_counts_and_no_scores(config, digits):
    plan = make_plan(config, digits)
    images = jax.ShapeDtypeStruct((64, *plan.inputs.shape), jnp.float32)
    batch = images, jax.ShapeDtypeStruct((64,), jnp.int32)
    state = jax.eval_shape(
        lambda x: init_state(plan.task, plan.method, plan.tx, x[:1], jax.random.key(0)), images
    )
    layout = shardings(state, MIN_SIZE, mesh())
    whole, rows = (NamedSharding(mesh(), PartitionSpec(*axes)) for axes in ((), ("data",)))

    def sent(kind):
        step = make_step(plan.task, plan.method, plan.tx, kind=kind)
        jitted = jax.jit(step, in_shardings=(layout, rows), out_shardings=(layout, whole))
        found = collectives(jitted.lower(state, batch).compile().as_text())
        return collections.Counter((one.kind, one.size) for one in found)

    plain, more = sent("plain"), sent("any")
    added = more - plain
    assert not plain - more and ("all-gather", 4 * 64 * 32) in plain  # of the weights
    # Of a split array, even a mask, MIN_SIZE bytes or more would be gathered.
    assert added and max(size for _, size in added) < MIN_SIZE / 4


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"train.shard_min_size": -1}, "train.shard_min_size: got -1, allowed: 0 or more"),
        (
            {"train.shard_min_size": 1, "train.parallel": "pmap"},
            "train.shard_min_size: got 1, allowed: 0, where train.parallel=pmap",
        ),
    ],
)
def test_mistakes_are_one_line(changes, line, config, digits):
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError) as caught:
        make_plan(config, digits)
    assert str(caught.value).startswith(line)


def test_seeds_that_train_at_once_are_replicated(config, digits, tmp_path):
    configs = [sharded(config), sharded(config)]
    configs[1].seed = 1
    with pytest.raises(UserError, match="train.shard_min_size: got 256, allowed: 0, where several"):
        train_replicas(configs, [tmp_path / "0", tmp_path / "1"], digits)
