"""A trained network made smaller in one call."""

import flax.linen as nn
import jax
import numpy as np
import pytest

import gpnas
from gpnas import data, deploy, models, train
from gpnas.errors import UserError


class Net(nn.Module):
    """A module of one's own, without fields for its widths."""

    @nn.compact
    def __call__(self, x, train=False):
        x = x.reshape(len(x), -1)
        for width in (24, 12):
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(10)(x)


class Linear(nn.Module):
    """One layer, which has no hidden units."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(10)(x.reshape(len(x), -1))


TASK = train.classification(models.linen(Net()))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return data.load("digits", cache_dir=tmp_path_factory.mktemp("cache"))


def variables(digits):
    return TASK.init(jax.random.key(0), np.zeros((1, *digits.input_shape), np.float32))


@pytest.mark.slow
def test_slim(digits, tmp_path):
    given = variables(digits)
    whole = deploy.dense_network(TASK.model, given, digits.input_shape).macs(digits.input_shape)
    small = gpnas.slim(
        TASK, given, digits, target=0.4, epochs=3, learning_rate=0.1, workdir=tmp_path / "run"
    )
    assert 0.3 * whole < small.network.macs(digits.input_shape) <= 0.4 * whole
    images = data.standardize(digits.test.inputs, digits)
    outputs = np.asarray(small.network.apply(small.network.variables, images))
    error = 100 * np.mean(outputs.argmax(1) != digits.test.targets)
    assert error == pytest.approx(small.record["metrics"]["test_error_selected"], abs=0.3)
    assert error < 60


@pytest.mark.slow
def test_the_cost_is_within_the_target(digits):
    """All evaluations are equal; the first one with few enough weights is before the last update.

    It is selected, with 0.9014 of the MACs.
    """
    task = train.classification(models.linen(models.LeNet300(widths=(100, 100))))
    given = task.init(jax.random.key(0), np.zeros((1, *digits.input_shape), np.float32))
    whole = deploy.dense_network(task.model, given, digits.input_shape).macs(digits.input_shape)
    small = gpnas.slim(task, given, digits, target=0.9, learning_rate=1e-6)
    assert small.record["metrics"]["selected_step"] <= 0.6 * small.record["total_steps"]
    assert 0.88 * whole < small.network.macs(digits.input_shape) <= 0.9 * whole


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": 0}, {"target": -0.1}, {"target": 1.5}, {"target": "half"}, {"cost": "joule"},
        {"epochs": 1.5}, {"batch_size": "all"}, {"seed": None}, {"variables": None},
        {"data": "digits"}, {"data": None}, {"task": TASK.model}, {"task": None},
    ],
)  # fmt: skip
def test_a_wrong_argument(wrong, digits, tmp_path):
    given = {"task": TASK, "variables": variables(digits), "data": digits}
    with pytest.raises(UserError) as caught:
        gpnas.slim(**(given | {"workdir": tmp_path / "run"} | wrong))
    assert caught.value.field in wrong and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_variables_and_data_of_another_network(digits, tmp_path):
    other = train.classification(models.linen(nn.Dense(10)))
    small = jax.tree.map(lambda x: x[..., :3], variables(digits))
    with pytest.raises(UserError, match=r"params/Dense_0/bias of shape \(24,\); not \(3,\)"):
        gpnas.slim(TASK, small, digits, workdir=tmp_path / "run")
    with pytest.raises(UserError, match="^model.name: .*batch, 10"):
        gpnas.slim(other, variables(digits), digits, workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_network_without_units(digits, tmp_path):
    linear = train.classification(models.linen(Linear()))
    given = linear.init(jax.random.key(0), np.zeros((1, *digits.input_shape), np.float32))
    with pytest.raises(
        UserError, match=r"^method\.name: got 'development_cost', allowed: a network"
    ):
        gpnas.slim(linear, given, digits, workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_there_is_nothing_else():
    with pytest.raises(AttributeError, match="has no attribute 'slam'"):
        _ = gpnas.slam
