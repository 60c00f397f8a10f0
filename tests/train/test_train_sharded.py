"""A state that is split over eight devices: the same training, less memory, no scores sent."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.benchmarks.collectives import collectives
from gpnas.errors import UserError
from gpnas.train import (
    _checkpoint,
    init_state,
    load_run,
    make_plan,
    make_program,
    make_step,
    shardings,
    train,
)

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
    return Mesh(np.array(jax.devices()), ("data",))


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
        assert len(alike) == 6  # weights, masks, momentum, two averages, ages
        assert all(x.sharding == of_weights for x in alike)
        assert all(len({s.data.shape for s in x.addressable_shards}) == 1 for x in alike)
    whole = jax.eval_shape(lambda: fresh)
    (fetched,) = program.fetch(after)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), fetched) == jax.tree.map(
        lambda x: (x.shape, x.dtype), whole
    )


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["scan", "steps", "segments"])
def test_training_is_the_same(loop, config, digits, all_saves, tmp_path):
    with all_saves() as found:
        one = train(config, tmp_path / "replicated", digits)
        many = train(sharded(config, loop), tmp_path / "sharded", digits)
    last, other = (found[tmp_path / name][40] for name in ("replicated", "sharded"))
    jax.tree.map(np.testing.assert_array_equal, last[0].masks, other[0].masks)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), last[0].params, other[0].params
    )
    assert sum(int(n) for n in other[0].counters.grown.values()) > 0
    assert many["compilations"] <= 4 and one["curve"] == many["curve"]
