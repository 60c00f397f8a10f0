"""Augmentation in a run: the same however steps are grouped and spread; training batches only."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpnas.errors import UserError
from gpnas.models import Model
from gpnas.train import make_plan, make_program, task, train

TEXT = "pad_crop(1)|flip_lr|mixup(0.5)"


@pytest.fixture
def config(tiny):
    """A dense run of 80 steps of 64 images."""
    made = tiny()
    made.data.augment = TEXT
    return made


def trained(config, data, parts, seeds=(0,)):
    """States after 4 steps, in calls of so many steps, and their training losses."""
    plan = make_plan(config, data)
    program = make_program(plan, data, len(seeds))
    placed = program.place(program.init([jax.random.key(seed) for seed in seeds]))
    index = np.arange(4 * 64, dtype=np.int32).reshape(1, 4, 64).repeat(len(seeds), 0)
    losses = []
    for steps in parts:
        placed, sums = program.run(placed, index, steps)
        losses.append(np.asarray(jax.tree.leaves(sums)[-1]))
        index = np.roll(index, -steps, 1)
    return jax.device_get([state.params for state in program.fetch(placed)]), losses


def same(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


@pytest.mark.exhaustive
def test_steps_may_be_grouped_and_spread_in_any_way(config, digits):
    expected = trained(config, digits, (4,))[0][0]
    same(trained(config, digits, (1, 3))[0][0], expected, rtol=0)
    config.train.loop = "steps"
    same(trained(config, digits, (2, 2))[0][0], expected, atol=1e-6)
    config.train.parallel, config.train.loop = "pmap", "scan"
    same(trained(config, digits, (4,))[0][0], expected, atol=1e-5)
    config.train.parallel = "jit"
    both = trained(config, digits, (4,), seeds=(1, 0))[0]
    same(both[1], expected, atol=1e-5)
    config.data.augment = ""
    plain = trained(config, digits, (4,))[0][0]
    first = [tree["Dense_0"]["kernel"] for tree in (plain, expected)]
    assert np.max(np.abs(first[0] - first[1])) > 1e-3


def evaluated(config, data, params):
    program = make_program(make_plan(config, data), data)
    return program.evaluate({"params": params}, data.validation)


def blank(keys, images, targets):
    """Nothing of the images is left."""
    return jnp.zeros_like(images), targets


@pytest.mark.slow
def test_training_batches_only(config, digits):
    """A network that learns from blank images is evaluated on the images as they are."""
    config.data.augment = f"{__name__}:blank"
    params = trained(config, digits, (4,))[0][0]
    begun = trained(config, digits, ())[0][0]
    np.testing.assert_array_equal(params["Dense_0"]["kernel"], begun["Dense_0"]["kernel"])
    assert np.any(params["Dense_2"]["bias"] != begun["Dense_2"]["bias"])
    found = evaluated(config, digits, begun)
    config.data.augment = ""
    assert found == evaluated(config, digits, begun)


@pytest.mark.slow
def test_a_run_with_soft_targets(config, digits, tmp_path):
    """Its training error is that of the larger part of each mixture."""
    config.data.augment = "mixup(0.2)"
    record = train(config, tmp_path / "run", digits)
    assert record["metrics"]["test_error_last"] < 25
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    errors = [line["error"] for line in lines if line["split"] == "train"]
    assert errors[-1] < errors[0] / 2


def hard(outputs, targets):
    """Of integer classes alone."""
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets)


def integer_task(model: Model) -> task.Task:
    return task.supervised(model, hard, {"nats": hard}, task.Metric("nats"))


def shortening(keys, images, targets):
    """At most four images of a batch, as a trace of two does not show."""
    return images[:4], targets


def test_batches_keep_their_size(config, digits):
    config.data.augment = f"{__name__}:shortening"
    with pytest.raises(UserError, match=r"^data.augment: .*; not \(4, 8, 8, 1\)"):
        make_plan(config, digits)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("method.name", {"method": {
            "name": "sensitivity", "density": 0.5, "kind": "specified", "rate": 1e-4, "refresh": 1,
            "patience": 1, "slack": 0.01, "tolerance": 0.1, "stop_at": 0.9,
        }}),
        ("task.name", {"task": {"name": f"{__name__}:integer_task"}}),
    ],
)  # fmt: skip
def test_what_needs_the_class_of_each_image_is_refused_with_mixup(field, change, config, digits):
    with config.unlocked():
        config.update(change)
        config.method = change.get("method", config.method)
    config.data.augment = "flip_lr"
    make_plan(config, digits)
    config.data.augment = "flip_lr|mixup(0.2)"
    with pytest.raises(UserError) as caught:
        make_plan(config, digits)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)
