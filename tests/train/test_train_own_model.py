"""A network of the user's own, named in the config as `module:Class`."""

import sys

import pytest

from gpnas.errors import UserError
from gpnas.train import base, train

NET = """
import flax.linen as nn


class Net(nn.Module):
    num_classes: int = 10

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.relu(nn.Conv(8, (3, 3), strides=2)(images))
        return nn.Dense(self.num_classes)(x.mean((1, 2)))
"""


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
