"""A network of the user's own, named in the config as `module:Class`."""

import sys

import pytest

from gpnas.errors import UserError
from gpnas.train import _checkpoint, base, config_key, train

NET = """
import flax.linen as nn


class Net(nn.Module):
    num_classes: int = 10

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.relu(nn.Conv(8, (3, 3), strides=2)(images))
        return nn.Dense(self.num_classes)(x.mean((1, 2)))
"""


@pytest.mark.slow
def test_a_network_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "gpnas_own_net.py").write_text(NET)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    config = base(name="static", density=0.5)
    config.data.name, config.train.batch_size, config.train.epochs = "digits", 64, 1
    config.model.name = "gpnas_own_net:Net"
    record = train(config, tmp_path / "run")
    assert [layer["path"] for layer in record["layers"]] == ["Conv_0/kernel", "Dense_0/kernel"]
    assert record["cost"]["inference_macs_dense"] == 4 * 4 * 9 * 8 + 80


@pytest.mark.parametrize("name", ["nonet", "gpnas_no_module:Net", "gpnas:Net"])
def test_a_network_that_is_not_there(tmp_path, name):
    config = base(name="dense")
    config.data.name, config.model.name = "digits", name
    with pytest.raises(UserError, match=r"^model\.name: got .*lenet300"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


SCANNED = """
import flax.linen as nn


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.relu(nn.Dense(16)(x)), None


class Scanned(nn.Module):
    num_classes: int = 10

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Dense(16)(images.reshape(len(images), -1))
        stack = nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return nn.Dense(self.num_classes)(stack(name="layers")(x, None)[0])
"""


@pytest.fixture
def scanned(tmp_path, monkeypatch):
    """`(**method) → config` of a network of three scanned layers of 16 × 16."""
    (tmp_path / "gpnas_scanned_net.py").write_text(SCANNED)
    monkeypatch.syspath_prepend(tmp_path)

    def make(**method):
        config = base(**method)
        config.data.name, config.train.batch_size, config.train.epochs = "digits", 64, 1
        config.train.tensorboard, config.model.name = False, "gpnas_scanned_net:Scanned"
        return config

    return make


@pytest.mark.exhaustive
def test_scanned_layers_get_a_density_each(scanned, tmp_path):
    config = scanned(name="rigl", density=0.06, every=2, allocation="uniform")
    config.model.axes = {"layers/*": {"batch_axis": 0}}
    assert config_key(scanned(name="dense").to_dict()) == {
        path: value
        for path, value in config_key(config.to_dict() | {"method": {"name": "dense"}}).items()
        if not path.startswith("model.axes")
    }
    saved = {}

    def keep(folder, step, tree, *about):
        saved["masks"] = tree[0][0].masks["layers"]["Dense_0"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checkpoint, "save", keep)
        record = train(config, tmp_path / "run")
    assert saved["masks"]["kernel"].sum((1, 2)).tolist() == [15, 15, 15]
    assert saved["masks"]["bias"].shape == ()  # biases of a layer are no weights
    assert [layer["path"] for layer in record["layers"]] == [
        "Dense_0/kernel", "Dense_1/kernel", "layers/Dense_0/kernel",
    ]  # fmt: skip
    assert record["expected"]["weights"] == 64 * 16 + 3 * 256 + 160
    dead = [int((~saved["masks"]["kernel"].any(axis)).sum()) for axis in (2, 1)]
    assert [record["layers"][2][side] for side in ("dead_in", "dead_out")] == dead


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"layer/*": {"batch_axis": 0}}, r"model\.axes: .*a glob that matches a leaf, such as"),
        ({"layers/*": {"batch": 0}}, r"model\.axes\.layers/\*: .*in_axis, out_axis, batch_axis"),
        ({"layers/*": {"batch_axis": "0"}}, r"model\.axes\.layers/\*: .*whole numbers"),
        ({"layers/*": {}}, r"model\.axes\.layers/\*: .*path glob"),
        ({"layers/*/kernel": {"batch_axis": 7}}, r"model\.axes: .*axes of the network's leaves"),
        ({"Dense_0/kernel": {"in_axis": 0, "out_axis": 0}}, r"model\.axes: .*each axis once"),
    ],
)
def test_axes_that_cannot_be_are_refused(scanned, tmp_path, axes, said):
    config = scanned(name="static", density=0.5, allocation="erk")
    config.model.axes = axes
    with pytest.raises(UserError, match=said) as raised:
        train(config, tmp_path / "run")
    assert "\n" not in str(raised.value) and not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("name", ["l0", "lottery"])
def test_axes_with_methods_that_cannot_have_them(scanned, tmp_path, name):
    config = scanned(name=name, **({"rounds": 2} if name == "lottery" else {}))
    config.model.axes, config.train.epochs = {"layers/*": {"batch_axis": 0}}, 4
    with pytest.raises(UserError, match=r"model\.axes: .*none for a method"):
        train(config, tmp_path / "run")
