"""Elastic training of networks of the user's own: nothing but their fields says their widths."""

import importlib
import json
import pathlib
import re

import flax.linen as nn
import jax
import numpy as np
import pytest

from gpnas import models
from gpnas.errors import UserError
from gpnas.train import _elastic, _rebuild, load_run, make_plan, train

NETS = """
import flax.linen as nn
import jax
from flax import nnx


class Linen(nn.Module):
    first: int = 16
    others: tuple[int, ...] = (16,)
    num_classes: int = 10

    @nn.compact
    def __call__(self, images):
        x = images.reshape(len(images), -1)
        for width in (self.first, *self.others):
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.num_classes)(x)


class Nnx(nnx.Module):
    def __init__(self, *, rngs, hidden: int = 16, num_classes: int = 10):
        self.first = nnx.Linear(64, hidden, rngs=rngs)
        self.last = nnx.Linear(hidden, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.first(x.reshape(len(x), -1))))


class Mean(nn.Module):
    width: int = 16
    num_classes: int = 10

    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Dense(self.width)(images.reshape(len(images), -1)))
        return nn.Dense(self.num_classes)(x / self.width)


class Normalized(nn.Module):
    first: int = 16
    summed: int = 12
    num_classes: int = 10

    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Dense(self.first)(images.reshape(len(images), -1)))
        x = nn.LayerNorm()(nn.Dense(self.summed)(x))
        return nn.Dense(self.num_classes)(x)


class Hidden(nn.Module):
    num_classes: int = 10

    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Dense(16)(images.reshape(len(images), -1)))
        return nn.Dense(self.num_classes)(x)
"""
EQUINOX = """
import equinox as eqx
import jax


class Equinox(eqx.Module):
    first: eqx.nn.Linear
    last: eqx.nn.Linear

    def __init__(self, *, key, hidden: int = 16, num_classes: int = 10):
        one, two = jax.random.split(key)
        self.first = eqx.nn.Linear(64, hidden, key=one)
        self.last = eqx.nn.Linear(hidden, num_classes, key=two)

    def __call__(self, x):
        return self.last(jax.nn.relu(self.first(x.reshape(-1))))
"""
METHOD = {
    "name": "development_units", "density": 0.25, "every": 5, "window": 3,
    "peak_at": 0.35, "peak": 2.5,
}  # fmt: skip
FOLDERS = {"Equinox": "gpnas_equinox_nets"}


@pytest.fixture(scope="module", autouse=True)
def nets(tmp_path_factory):
    """Makes the networks importable."""
    folder = tmp_path_factory.mktemp("nets")
    (folder / "gpnas_elastic_nets.py").write_text(NETS)
    (folder / "gpnas_equinox_nets.py").write_text(EQUINOX)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


@pytest.fixture(scope="module")
def recipe(tiny):
    """`(network, elastic) → config` of a run of 40 steps."""

    def make(name="Linen", elastic=True):
        config = tiny(**METHOD)
        config.elastic, config.elastic_round_to, config.train.epochs = elastic, 2, 2
        name = f"{FOLDERS.get(name, 'gpnas_elastic_nets')}:{name}"
        config.model = {"name": name, "dtype": "float32", "conv": "auto"}
        return config

    return make


@pytest.fixture(scope="module")
def whole(recipe, digits, watched_saves, tmp_path_factory):
    """`(record, folder, last checkpoint)` of an elastic run."""
    folder = tmp_path_factory.mktemp("own") / "run"
    with watched_saves() as saved:
        record = train(recipe(), folder, digits)
    return record, folder, saved[folder]


@pytest.mark.slow
def test_the_record_is_that_of_the_masked_run(whole, recipe, digits, tmp_path):
    record, folder, _ = whole
    plain = train(recipe(elastic=False), tmp_path / "run", digits)
    assert record["compilations"] > 1 and plain["compilations"] == 1
    for field in ("weights", "nonzeros", "inference_macs", "inference_macs_dense"):
        assert record["cost"][field] == plain["cost"][field]
    assert [p["density"] for p in record["curve"]] == [p["density"] for p in plain["curve"]]
    assert record["architecture"] == plain["architecture"]
    assert json.loads((folder / "architecture.json").read_text()) == record["architecture"]
    fields = {"first": 4, "others": [4], "num_classes": 10}
    assert record["architecture"] == {"model": "gpnas_elastic_nets:Linen", "fields": fields}


@pytest.mark.slow
def test_the_architecture_is_the_network_without_its_masks(whole, recipe, digits):
    record, folder, leaves = whole
    plan = make_plan(recipe(), digits)
    found = {
        p.rpartition("units['")[2].rstrip("']"): x for p, x in leaves.items() if "units['" in p
    }
    rebuild = _rebuild.find_rebuild(recipe(), digits, plan)
    masks = {name: found[name] for name in rebuild.sizes}
    variables = load_run(folder, "last").variables
    network, small = _elastic.active_network(plan, rebuild, variables, masks)
    assert network == record["architecture"]
    rebuilt = models.from_architecture(network)
    images = np.asarray(digits.test.inputs[:50], np.float32)
    expected = plan.task.model.infer(variables, images)
    np.testing.assert_allclose(rebuilt.apply(small, images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.exhaustive
def test_a_run_that_was_cut_off_goes_on_bit_for_bit(
    whole, recipe, digits, tmp_path, stop_at, saved
):
    config = recipe()
    config.resume = True
    with stop_at(21):
        train(config, tmp_path / "run", digits)
    record = train(config, tmp_path / "run", digits)
    assert record["architecture"] == whole[0]["architecture"]
    assert record["metrics"] == whole[0]["metrics"]
    for path, leaf in whole[2].items():
        np.testing.assert_array_equal(leaf, saved[tmp_path / "run"][path], err_msg=path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Nnx", pytest.param("Equinox", marks=pytest.mark.exhaustive)])
def test_networks_of_other_libraries(name, recipe, digits, tmp_path):
    if name == "Equinox":
        pytest.importorskip("equinox")
    config, left = recipe(name), {"Nnx": 1, "Equinox": 4}[name]
    config.model.hidden, config.elastic_round_to = 4 * left, 1
    record = train(config, tmp_path / "run", digits)
    assert record["compilations"] > 1
    assert record["architecture"]["fields"] == {"hidden": left, "num_classes": 10}
    shapes = [leaf.shape for leaf in jax.tree.leaves(make_plan(config, digits).variables)]
    variables = load_run(tmp_path / "run").variables
    assert [leaf.shape for leaf in jax.tree.leaves(variables)] == shapes


@pytest.mark.slow
def test_units_under_layer_norm_stay_and_others_shrink(recipe, digits, tmp_path):
    """LayerNorm divides by the number of its units, so they are not pruned."""
    elastic, plain = (
        train(recipe("Normalized", elastic=on), tmp_path / str(on), digits) for on in (True, False)
    )
    assert elastic["compilations"] > 1
    assert elastic["architecture"] == plain["architecture"]
    assert elastic["architecture"]["fields"] == {"first": 4, "summed": 12, "num_classes": 10}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Hidden", "params/Dense_0/kernel:1 (16 units) has none of its own: make its width one"),
        ("Mean", "a network that computes the same in other widths; gpnas_elastic_nets:Mean"),
    ],
)
def test_what_cannot_be_elastic(name, said, recipe, digits, tmp_path):
    with pytest.raises(UserError) as error:
        train(recipe(name), tmp_path / "run", digits)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_network_that_no_fields_describe_has_no_architecture(recipe, digits, tmp_path):
    config = recipe("Mean", elastic=False)
    config.train.epochs, config.method.every = 1, 2
    record = train(config, tmp_path / "run", digits)
    assert "architecture" not in record


def test_the_plan_of_another_network_is_refused(recipe, digits):
    plan, config = make_plan(recipe(), digits), recipe()
    config.model.first = 8
    with pytest.raises(UserError, match="gpnas_elastic_nets:Linen is another one"):
        _rebuild.find_rebuild(config, digits, plan)


@pytest.mark.slow
def test_the_network_of_the_tutorial_can_be_elastic(recipe, digits, tmp_path, monkeypatch):
    page = (pathlib.Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
    block = re.search(r"```python\n# slim_net.py\n(.*?)```", page, re.DOTALL)[1]
    (tmp_path / "gpnas_slim_net.py").write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    config = recipe()
    config.model.name = "gpnas_slim_net:Net"
    plan = make_plan(config, digits)
    rebuild = _rebuild.find_rebuild(config, digits, plan)
    assert [str(width) for width in rebuild.widths.values()] == [
        "features",
        "hidden[0]",
        "hidden[1]",
    ]
    _rebuild.check_rebuilt(config, digits, plan, rebuild)


def test_an_architecture_of_ones_own_names_its_class():
    network = {"model": "gpnas_elastic_nets:Linen", "fields": {"first": 3, "others": [5]}}
    cls = importlib.import_module("gpnas_elastic_nets").Linen
    assert models.from_architecture(network) == cls(first=3, others=(5,))
    assert isinstance(models.from_architecture(network), nn.Module)
    for wrong, field in (({"depth": 3}, "fields.depth"), ({"dtype": 1}, "fields.dtype")):
        with pytest.raises(UserError, match=field):
            models.from_architecture(network | {"fields": wrong})
