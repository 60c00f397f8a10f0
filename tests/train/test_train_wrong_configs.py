"""Configs that are none; wrong ones are in tests/experiments/test_experiments_chaos.py."""

import pytest
from ml_collections import ConfigDict

from gpnas.errors import UserError
from gpnas.train import train


@pytest.mark.parametrize("config", [ConfigDict(), ConfigDict({"train": 3}), {}, None])
def test_an_empty_config(config, tmp_path):
    with pytest.raises(UserError):
        train(config, tmp_path / "run")
    assert not list(tmp_path.iterdir())
