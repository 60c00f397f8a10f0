"""Networks of the user's own: random streams, ways to be called, and what cannot be trained."""

import sys

import jax
import numpy as np
import pytest

from gpnas.errors import UserError
from gpnas.train import make_plan, train, train_replicas

NETS = """
import flax.linen as nn
import jax.numpy as jnp


class Base(nn.Module):
    num_classes: int = 10

    def flat(self, images):
        return images.reshape(len(images), -1)


class Drop(Base):
    rate: float = 0.3

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.relu(nn.Dense(16)(self.flat(images)))
        return nn.Dense(self.num_classes)(nn.Dropout(self.rate, deterministic=not train)(x))


class Deterministic(Base):
    @nn.compact
    def __call__(self, images, deterministic):
        x = nn.Dense(16)(self.flat(images))
        x = nn.Dropout(0.3, rng_collection="depth", deterministic=deterministic)(nn.relu(x))
        return nn.Dense(self.num_classes)(x)


class Plain(Base):
    @nn.compact
    def __call__(self, images):
        return nn.Dense(self.num_classes)(nn.relu(nn.Dense(16)(self.flat(images))))


class General(Base):
    @nn.compact
    def __call__(self, images, training):
        x = nn.DenseGeneral((4, 4), axis=(1, 2, 3))(images)
        x = nn.BatchNorm(use_running_average=not training)(x)
        return nn.DenseGeneral(self.num_classes, axis=(-2, -1))(nn.relu(x))


class Seven(nn.Module):
    @nn.compact
    def __call__(self, images, train=False):
        return nn.Dense(7)(images.reshape(len(images), -1))


class Pair(Base):
    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Dense(self.num_classes)(self.flat(images))
        return x, x


class Sown(Base):
    @nn.compact
    def __call__(self, images, train=False):
        self.sow("losses", "l", images.sum())
        return nn.Dense(self.num_classes)(self.flat(images))


class Always(Base):
    @nn.compact
    def __call__(self, images, train=False):
        return nn.Dense(self.num_classes)(nn.Dropout(0.5, deterministic=False)(self.flat(images)))


class Twice(Base):
    @nn.compact
    def __call__(self, images, tokens):
        return nn.Dense(self.num_classes)(self.flat(images))


class Biases(Base):
    @nn.compact
    def __call__(self, images, train=False):
        return self.flat(images)[:, :10] + self.param("b", nn.initializers.zeros, (10,))


class Fixed(nn.Module):
    @nn.compact
    def __call__(self, images, train=False):
        return self.flat(images)[:, :10]


class Raising(Base):
    def __post_init__(self):
        raise RuntimeError("first line\\nsecond line")


def made(num_classes: int, rate: float = 0.5) -> nn.Module:
    return Drop(num_classes, rate)


def unsaid(num_classes):
    return Drop(num_classes)


number = 3
"""


@pytest.fixture(autouse=True)
def nets(tmp_path, monkeypatch):
    (tmp_path / "gpnas_nets.py").write_text(NETS)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield
    sys.modules.pop("gpnas_nets", None)


@pytest.fixture
def config(tiny):
    def make(network, **method):
        made = tiny(**(method or {"name": "static", "density": 0.5}))
        del made.model.widths
        made.model.name = f"gpnas_nets:{network}"
        return made

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["Drop", "Deterministic"]
    + [pytest.param(name, marks=pytest.mark.exhaustive) for name in ("Plain", "General", "made")],
)
def test_networks_that_can_be_called_in_their_own_way(name, config, digits, tmp_path):
    own = config(name)
    own.train.epochs = 1
    record = train(own, tmp_path / "run", digits)
    assert record["cost"]["train_flops"] < record["cost"]["train_flops_dense"]
    assert record["cost"]["inference_macs_dense"] == 64 * 16 + 160


@pytest.mark.slow
def test_dropout_drops_in_training_only_and_differs_from_step_to_step(config, digits):
    plan = make_plan(config("Drop"), digits)
    images = np.asarray(digits.train.inputs[:4] / 255, np.float32)
    one, other = jax.random.split(jax.random.key(0))
    variables = plan.task.init(one, images)
    outputs = [plan.task.model.apply(variables, images, key)[0] for key in (one, one, other)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.abs(outputs[0] - outputs[2]).max() > 1e-3
    assert np.abs(outputs[0] - plan.task.model.infer(variables, images)).max() > 1e-3


@pytest.mark.slow
def test_dropout_resumes_bit_identically(config, digits, tmp_path, saved, stop_at):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    own = config("Drop", name="gmp", density=0.3, every=5)
    train(own, whole, digits)
    with stop_at(20):
        train(own, cut, digits)
    own.resume = True
    train(own, cut, digits)
    for name, leaf in saved[whole].items():
        np.testing.assert_array_equal(leaf, saved[cut][name], err_msg=name)


@pytest.mark.exhaustive
def test_replicas_draw_the_same_numbers_as_each_alone(config, digits, tmp_path):
    configs = [config("Drop"), config("Drop")]
    configs[1].seed = 1
    for one in configs:
        one.train.epochs = 1
    together = train_replicas(configs, [tmp_path / "0", tmp_path / "1"], digits)
    alone = train(configs[1], tmp_path / "alone", digits)
    losses = [line["loss"] for line in alone["evaluations"]]
    assert [line["loss"] for line in together[1]["evaluations"]] == pytest.approx(losses, rel=1e-4)
    assert together[0]["evaluations"] != together[1]["evaluations"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gpnas_nets:Seven", r"returns \(batch, 10\) logits, not \(batch, 7\)"),
        ("gpnas_nets:Pair", r"returns \(batch, 10\) logits, not a tuple"),
        ("gpnas_nets:Sown", "'losses' does not"),
        ("gpnas_nets:Always", "called in evaluation"),
        ("gpnas_nets:Twice", "tokens"),
        ("gpnas_nets:Biases", "a network with weights"),
        ("gpnas_nets:Raising", "RuntimeError: first line"),
        ("gpnas_nets:unsaid", "a Module or Model class, or a function annotated"),
        ("gpnas_nets:number", "a Module or Model class, or a function annotated"),
        ("os:system", "a Module or Model class, or a function annotated"),
        ("json:loads", "a Module or Model class, or a function annotated"),
        ("x" * 5000, "lenet300"),
        ("gpnas_nets:" + "x" * 5000, "lenet300"),
        (":", "lenet300"),
    ],
)
def test_networks_that_cannot_be_trained(name, said, config, digits):
    own = config("Plain")
    own.model.name = name
    with pytest.raises(UserError, match=said) as caught:
        make_plan(own, digits)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 1000


@pytest.mark.parametrize("name", ["os:system", "json:loads", "gpnas.models:LeNet300"])
def test_what_is_no_method_is_not_called(name, tiny, digits):
    with pytest.raises(UserError, match="a Method class, or a function annotated"):
        make_plan(tiny(name=name, command="touch /nowhere", s="1"), digits)


@pytest.mark.parametrize("epochs", [10**19, 2**31])
def test_more_steps_than_can_be_counted(epochs, tiny, digits):
    config = tiny()
    config.train.epochs = epochs
    with pytest.raises(UserError, match=r"^train\.epochs: got .*, allowed: at most"):
        make_plan(config, digits)
