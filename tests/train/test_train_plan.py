"""Plans: what a config says about a run, and every mistake in it in one line."""

import dataclasses
from inspect import signature

import jax
import jax.numpy as jnp
import pytest

from gpnas import data
from gpnas.errors import UserError
from gpnas.masks import init_masks, masked_leaves
from gpnas.methods import METHODS, EvalContext
from gpnas.train import base, config_key, init_state, load_data, make_plan, train
from gpnas.train._forecast import few_updates, forecast_line
from tests.cases import some

MASKED = {"name": "development", "density": 0.2, "peak": 3.0, "every": 5, "window": 3}


def changed(config, changes):
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return config


def test_plan(tiny, digits):
    plan = make_plan(tiny(**MASKED), digits)
    assert (plan.steps_per_epoch, plan.total_steps, plan.loop) == (20, 80, "scan")
    assert plan.inputs.shape == (8, 8, 1)
    assert plan.macs.per_weight == {"Dense_0/kernel": 1, "Dense_1/kernel": 1, "Dense_2/kernel": 1}
    expected = plan.expected
    assert (expected["params"], expected["weights"]) == (2778, 2720)
    assert expected["train_flops_dense"] == 6 * 2720 * 80 * 64
    assert 0.2 < expected["mean_training_density"] < 0.6
    assert expected["density"] == pytest.approx(0.2)


@pytest.mark.parametrize("method", some(["rigl", "granet", "static"], ["rigl"]))
def test_the_forecast_of_layers_that_differ_in_macs_per_weight(tiny, digits, tmp_path, method):
    config = tiny(name=method, density=0.1)
    config = changed(config, {"model.name": "convnet", "model.widths": (4, 8, 8, 16)})
    record = train(config, tmp_path, digits)
    forecast, cost = record["expected"], record["cost"]
    assert cost["train_flops"] == pytest.approx(forecast["train_flops"], rel=0.02)
    # Densities by ERK are higher in convolutions, which have more MACs per weight.
    assert forecast["train_flops"] / forecast["train_flops_dense"] > 1.2 * 0.1


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("model.name", {"model.name": "lenet6"}),
        ("model.name", {"model.name": "lenet5", "model.widths": (20, 50, 500)}),
        ("model.depth", {"model.depth": 3}),
        ("model.num_classes", {"model.num_classes": 3}),
        ("model.dtype", {"model.dtype": "int8"}),
        ("model.conv", {"model.name": "resnet", "model.widths": None, "model.conv": "fft"}),
        ("model.widths", {"model.widths": (-3,)}),
        ("model.widths", {"model.widths": ("a",)}),
        ("train.epochs", {"train.epochs": 0}),
        ("train.epochs", {"train.epochs": -1}),
        ("train.batch_size", {"train.batch_size": 0}),
        ("train.batch_size", {"train.batch_size": -64}),
        ("train.log_every", {"train.log_every": 0}),
        ("train.eval_every", {"train.eval_every": -1}),
        ("train.parallel", {"train.parallel": "pjit"}),
        ("train.loop", {"train.loop": "while"}),
        ("train.checkpoint_seconds", {"train.checkpoint_seconds": -1.0}),
        ("train.checkpoint_seconds", {"train.checkpoint_seconds": float("nan")}),
        ("data.augment", {"data.augment": "pad_corp(1)"}),
        ("data.augment", {"data.augment": "pad_crop(8)"}),
        ("method.name", {"method.name": "magic"}),
        ("method.name", {"method.name": "gpnas.nothing:here"}),
        ("method.density", {"method.density": 0.0}),
        ("method.density", {"method.density": -0.1}),
        ("method.density", {"method.density": 1.5}),
        ("method.every", {"method.every": 0}),
        ("method.peak", {"method.peak": 6.0}),
        ("method.allocation", {"method.allocation": "even"}),
        ("method.fraction", {"method.fraction": 0.3}),
        ("method.decay", {"method.decay": "yes"}),
    ],
)
def test_what_is_refused(field, changes, tiny, digits):
    if "model.widths" in changes and changes["model.widths"] is None:
        config = tiny(**MASKED)
        del config.model.widths
        changes = {k: v for k, v in changes.items() if v is not None}
    else:
        config = tiny(**MASKED)
    with pytest.raises(UserError) as caught:
        make_plan(changed(config, changes), digits)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_network_that_needs_larger_images(tiny, digits):
    config = changed(tiny(), {"model.name": "lenet5", "model.widths": (20, 50, 500)})
    expected = "model.name: got 'lenet5', allowed: a network for images of 8 × 8 × 1; "
    with pytest.raises(UserError, match=expected + "data.image_size makes them larger"):
        make_plan(config, digits)
    larger = changed(config, {"data.image_size": 16, "model.widths": (2, 3, 4)})
    assert make_plan(larger, load_data(larger)).inputs.shape == (16, 16, 1)


def test_batches_are_shared_by_the_devices(tiny, digits, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    with pytest.raises(UserError, match="batch_size: got 64, allowed: a multiple of the 3 devices"):
        make_plan(tiny(), digits)


@pytest.mark.parametrize(
    "field", ["data.name", "data.validation", "data.seed", "data.image_size", "data.raw_dir"]
)
def test_data_that_cannot_be(field, tiny, tmp_path):
    wrong = {
        "data.name": f"folder:{tmp_path / 'none'}",
        "data.validation": 1.0,
        "data.seed": -1,
        "data.image_size": -8,
        "data.raw_dir": str(tmp_path / "none"),
    }
    config = changed(tiny(), {"data.name": "mnist" if field == "data.raw_dir" else "digits"})
    config.data.download = False
    with pytest.raises(UserError) as caught:
        load_data(changed(config, {field: wrong[field]}))
    named = {"data.raw_dir": ("data.raw_dir", "data.name")}
    assert caught.value.field.removeprefix("data.") in {
        name.removeprefix("data.") for name in named.get(field, (field,))
    }


def test_a_method_of_ones_own(tiny, digits, tmp_path, monkeypatch):
    (tmp_path / "my_methods.py").write_text(
        "from gpnas.methods import Method\n"
        "from typing import Annotated\n"
        "from gpnas.methods import In, static\n"
        "def half(*, total_steps: int, fraction: Annotated[float, In(0, 1)] = 0.5) -> Method:\n"
        "    assert total_steps == 80\n"
        "    from gpnas.masks import allocate\n"
        "    return static.static(density=fraction, allocation=allocate.erk())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plan = make_plan(tiny(name="my_methods:half", fraction=0.25), digits)
    assert plan.expected["density"] == 0.25
    for fields, named in (
        ({"name": "my_methods:whole"}, "method.name"),
        ({"name": "my_methods:half", "part": 1}, "method.part"),
        ({"name": "my_methods:half", "fraction": 2.0}, "method.fraction"),
    ):
        with pytest.raises(UserError) as caught:
            make_plan(tiny(**fields), digits)
        assert caught.value.field == named


def test_identity():
    one, other = base(name="gmp", density=0.1), base(name="gmp", density=0.1)
    assert config_key(one.to_dict()) == config_key(other.to_dict())
    other.resume, other.data.raw_dir, other.train.checkpoint_seconds = True, "there", 1.0
    assert config_key(one.to_dict()) == config_key(other.to_dict())
    other.data.seed = 1
    differ = config_key(one.to_dict()).items() ^ config_key(other.to_dict()).items()
    assert {path for path, _ in differ} == {"data.seed"}
    assert "data.cache_dir" not in config_key(one.to_dict())


def test_a_field_that_was_added_later_has_its_default():
    now = base(name="gmp", density=0.1)
    then = now.to_dict()
    del then["optimizer"]["decay_at"], then["data"]["image_size"], then["data"]["augment"]
    assert config_key(then) == config_key(now.to_dict())
    now.optimizer.decay_at = 0.5
    differ = config_key(then).items() ^ config_key(now.to_dict()).items()
    assert differ == {("optimizer.decay_at", 0.0), ("optimizer.decay_at", 0.5)}


def test_what_is_not_given_to_an_optimizer_is_not_filled_in():
    one, other = base(), base()
    other.optimizer.arguments = {}  # of plain SGD
    assert config_key(one.to_dict()) != config_key(other.to_dict())
    other.optimizer.name = "adam"
    assert not any("momentum" in path for path in config_key(other.to_dict()))


@pytest.mark.parametrize(("images", "batch"), [(1, 1), (43, 5), (63, 7), (64, 64), (1293, 64)])
def test_batches_of_few_images_are_smaller(images, batch, tiny, digits, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    few = data.Split(digits.train.inputs[:images], digits.train.targets[:images])
    config = changed(tiny(), {"train.epochs": 20})
    plan = make_plan(config, dataclasses.replace(digits, train=few))
    assert (plan.batch_size, plan.steps_per_epoch) == (batch, images // batch)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lobster", "serene", "sensitivity", "l0", "sparse_vd"])
def test_what_the_data_decide_is_forecast_as_a_bound(name, tiny, digits):
    density = {"density": 0.01} if "density" in signature(METHODS[name]).parameters else {}
    expected = make_plan(tiny(name=name, **density), digits).expected
    assert not {"density", "train_flops", "mean_training_density"} & expected.keys()
    assert expected["density_at_most"] == expected["mean_training_density_at_most"] == 1
    line = forecast_line(expected)
    assert "at most 100.00% of 2,720 weights" in line and "training FLOPs at most" in line


def test_few_mask_updates_are_reported(tiny, digits):
    plan = make_plan(tiny(name="rigl", density=0.2), digits)
    assert plan.durations == {"every": 2} and plan.expected["mask_updates"] >= 25
    plan = make_plan(tiny(name="rigl", density=0.2, every=20), digits)
    told = few_updates(plan.expected["mask_updates"], plan.durations, plan.total_steps)
    assert told.startswith(f"few mask updates, {plan.expected['mask_updates']} in 80 steps; ")
    assert "method.every below 20" in told and "\n" not in told
    assert few_updates(10, plan.durations, 80) == few_updates(None, {}, 80) == ""


def test_trainings_are_whole_numbers_of_evaluations(tiny, digits):
    config = tiny(name="lottery", rounds=2)  # three trainings
    with pytest.raises(UserError, match="^train.epochs: got 4, allowed: a multiple of 3"):
        make_plan(config, digits)
    assert make_plan(changed(config, {"train.epochs": 6}), digits).method.trainings == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "widths", "last"),
    some(
        [("convnet", (4, 6, 6, 8), "classifier"), ("lenet300", (32, 16), "Dense_2")],
        [("lenet300", (32, 16), "Dense_2")],
    ),
)
def test_lottery_prunes_the_layer_of_outputs_less(tiny, digits, name, widths, last):
    config = tiny(name="lottery", rounds=1, fraction=0.5, last_fraction=0.0)
    config.model.name, config.model.widths = name, widths
    plan = make_plan(config, digits)
    size = masked_leaves(init_masks(plan.variables["params"]))[f"{last}/kernel"].size
    expected = 0.5 + 0.5 * size / plan.expected["weights"]
    assert plan.expected["density"] == pytest.approx(expected)
    state = init_state(plan.task, plan.method, plan.tx, jnp.ones((1, 8, 8, 1)), jax.random.key(0))
    state = dataclasses.replace(state, step=jnp.int32(plan.total_steps // 2))
    context = EvalContext(0.0, lambda params: 0.0, plan.tx.init)
    masks = plan.method.hooks.on_eval(state, context).masks
    kept = {path: float(mask.mean()) for path, mask in masked_leaves(masks).items()}
    assert kept == {path: 1.0 if path == f"{last}/kernel" else 0.5 for path in kept}


@pytest.mark.parametrize("widths", [(), (1, 1)])
def test_a_network_without_units_cannot_develop_them(tiny, digits, widths):
    config = tiny(name="development_units", density=0.25, every=5, window=3)
    config.model.widths = widths
    with pytest.raises(UserError, match=r"method\.name: got .*a network with units to prune"):
        make_plan(config, digits)


OWN = """
from gpnas.masks import plasticity, schedule, score
from gpnas.methods import Forecast, Method


def of_nothing(stats, ctx):
    return ctx.nothing


def own(*, total_steps: int) -> Method:
    drop = score.magnitude()._replace(value=of_nothing)
    dense = schedule.constant(1.0)
    transform = plasticity(drop=drop, grow=score.random(), density=dense, every=10)
    return Method(transform, Forecast(dense))
"""


def test_an_error_in_a_score_of_the_users_own_names_the_line(tiny, digits, tmp_path, monkeypatch):
    (tmp_path / "with_own_score.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError) as raised:
        make_plan(tiny(name="with_own_score:own"), digits)
    assert str(raised.value).startswith("method.name: got 'with_own_score:own', allowed: one that")
    assert str(raised.value).endswith("no attribute 'nothing', line 7 of with_own_score.py)")
