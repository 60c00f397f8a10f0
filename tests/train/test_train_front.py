"""A front of networks: one run whose cost falls, a branch at each level, and one record."""

import functools
import json
import shutil
import sys

import jax
import numpy as np
import pytest

from gpnas import deploy, units
from gpnas.errors import UserError
from gpnas.methods.development_cost import cost_schedule
from gpnas.train import front_config, load_run, train_front
from gpnas.train._front_folder import locked_front, write_settings
from gpnas.train._front_plan import (
    FrontSettings,
    level_epochs,
    main_config,
    with_updates_before_levels,
)
from gpnas.train._plan import make_plan
from tests.times import TIMES

LEVELS = (1.0, 0.25)


@pytest.fixture(scope="module")
def recipe():
    """`(**front's fields) → config` of a main run of 80 steps, in arrays of one size."""

    def make(**settings):
        config = front_config()
        config.update(settings)
        config.data.name, config.train.epochs, config.train.batch_size = "digits", 4, 64
        config.train.log_every, config.train.tensorboard = 7, False
        config.train.checkpoint_seconds = 0.0
        config.model.name, config.model.widths = "lenet300", (32, 16)
        config.elastic_round_to, config.elastic_min_flops = 16, 0.0
        config.method.every, config.method.window = 5, 3
        config.branch_epochs = settings.get("branch_epochs", 1)
        return config

    return make


@pytest.fixture(scope="module")
def made(recipe, digits, tmp_path_factory):
    """Folder and record of a front with uniform networks."""
    folder = tmp_path_factory.mktemp("front") / "run"
    return folder, train_front(recipe(front=LEVELS, baselines=True), folder, digits)


def without_times(record):
    """A record without what may differ when the same is done again."""
    rest = {name: value for name, value in record.items() if name not in TIMES}
    config = {name: value for name, value in record["config"].items() if name != "resume"}
    networks = {
        kind: [{n: v for n, v in one.items() if n not in TIMES} for one in record[kind]]
        for kind in ("networks", "uniform")
    }
    return json.loads(json.dumps(rest | networks | {"config": config}))


@pytest.mark.slow
def test_each_network_has_a_folder_and_an_entry(made):
    folder, record = made
    assert json.loads((folder / "front.json").read_text()) == json.loads(json.dumps(record))
    names = {f"{kind}-{level:g}" for kind in ("level", "uniform") for level in LEVELS}
    assert {path.name for path in folder.iterdir()} == {
        ".lock",
        "main",
        "front.json",
        "settings.json",
    } | names
    for one in record["networks"] + record["uniform"]:
        run = json.loads((folder / one["folder"] / "record.json").read_text())
        assert one["test_error"] == run["metrics"]["test_error_last"]
        assert one["params"] == run["cost"]["params"]
        assert list(one["units"].values()) == list(one["model"]["widths"])
        assert run["cost"]["nonzeros"] == run["cost"]["weights"]
    assert record["networks"][0]["units"] == record["whole"]["units"]
    steps = [one["step"] for one in record["networks"]]
    assert steps == [60, 80]
    assert list(record["whole"]["units"].values()) == [32, 16]


@pytest.mark.slow
def test_levels_of_cost_are_met_within_one_unit(made, recipe, digits):
    config = recipe().unlock()
    for field in FrontSettings._fields:
        del config[field]
    config.method.curve = ((0.0, 1.0), (1.0, 0.5))
    costs = make_plan(config, digits).supernet.costs
    sizes, whole = made[1]["whole"]["units"], made[1]["whole"]["macs"]

    def macs(counts):
        masks = {name: np.arange(size) < counts[name] for name, size in sizes.items()}
        return float(units.total_cost(costs, masks, "macs"))

    for one in made[1]["networks"]:
        active, limit = one["units"], one["level"] * whole
        assert macs(active) == one["macs"] <= limit
        more = [
            macs(active | {name: active[name] + 1})
            for name, size in sizes.items()
            if active[name] < size
        ]
        assert max(more, default=np.inf) > limit
    for one in made[1]["uniform"]:
        assert one["macs"] <= one["level"] * whole
        fractions = [one["units"][name] / size for name, size in sizes.items()]
        assert max(fractions) - min(fractions) <= 0.5 / min(sizes.values()) * 2


@pytest.mark.exhaustive
def test_levels_of_latency_are_met_by_the_table_of_the_folder(recipe, digits, tmp_path):
    """The table is one of which the latency of a layer is the product of its widths, in µs."""
    config = recipe().unlock()
    for field in FrontSettings._fields:
        del config[field]
    config.method.curve = ((0.0, 1.0), (1.0, 0.5))
    costs = make_plan(config, digits).supernet.costs
    table = {
        key: one | {"ms": (functools.reduce(np.multiply.outer, one["widths"], 1e-3)).tolist()}
        for key, one in units.measure_layers(costs, rounds=1).items()
    }
    whole = float(units.total_latency(costs, {}, table))
    (tmp_path / "layers.json").write_text(json.dumps(table))
    settings = {"front_by": "latency_ms", "front": (0.4 * whole,), "baselines": True}
    record = train_front(recipe(**settings), tmp_path, digits)
    for one in record["networks"] + record["uniform"]:
        assert 0.9 * one["level"] < one["layers_ms"] <= one["level"] * (1 + 1e-5)
        assert one["layers_ms"] == pytest.approx(
            float(
                units.total_latency(
                    costs,
                    {n: np.arange(costs.sizes[n]) < k for n, k in one["units"].items()},
                    table,
                )
            )
        )
    again = recipe(**settings)
    again.resume = True
    shutil.rmtree(tmp_path / "uniform-{:g}".format(*settings["front"]))
    resumed = train_front(again, tmp_path, digits)
    assert without_times(resumed)["networks"] == without_times(record)["networks"]


@pytest.mark.slow
def test_an_interrupted_front_goes_on_to_the_same_record(made, recipe, stop_at, digits, tmp_path):
    config, folder = recipe(front=LEVELS), tmp_path / "run"
    with stop_at(40):
        train_front(config, folder, digits)
    assert not (folder / "front.json").exists()
    config.resume = True
    train_front(config, folder, digits)
    shutil.rmtree(folder / "level-0.25")  # as if the branch had not begun
    again, expected = (without_times(r) for r in (train_front(config, folder, digits), made[1]))
    differ = {name for name in expected if again[name] != expected[name]}
    assert differ == {"config", "uniform"}  # of these, only `made` has some


@pytest.mark.parametrize(
    "field, value", [("front", (1.0, 0.2)), ("branch_epochs", 2), ("train.epochs", 6)]
)
def test_a_resumed_front_has_the_settings_of_its_beginning(recipe, tmp_path, digits, field, value):
    write_settings(tmp_path, recipe(front=LEVELS))
    config = recipe(front=LEVELS, resume=True, baselines=True)
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=f"^{field}: got .*, as the run in .* began"):
        train_front(config, tmp_path, digits)


@pytest.mark.parametrize("name", ["settings.json", "front.json", "front.html", "level-0.25"])
def test_files_of_others_are_kept(recipe, tmp_path, digits, name):
    path = tmp_path / (f"{name}/record.json" if name.startswith("level") else name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(UserError, match="^workdir: got .*this one has .*json|html"):
        train_front(recipe(front=LEVELS), tmp_path, digits)
    assert path.read_text() == "mine"
    assert {one for one in tmp_path.rglob("*") if one.is_file()} == {path}


def test_a_folder_that_cannot_be_made_and_settings_of_others(recipe, tmp_path, digits):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="^workdir: got .*a folder that can be written"):
        train_front(recipe(front=LEVELS), tmp_path / "file", digits)
    (tmp_path / "settings.json").write_text('{"editor": 1}')
    with pytest.raises(UserError, match="^workdir: got .*settings.json"):
        train_front(recipe(front=LEVELS, resume=True), tmp_path, digits)


def test_a_front_under_way_keeps_its_folder(recipe, tmp_path, digits):
    first = recipe(front=LEVELS)
    with locked_front(tmp_path, first, ()):
        write_settings(tmp_path, first)
        before = (tmp_path / "settings.json").read_bytes()
        for other in (recipe(front=LEVELS, resume=True), recipe(front=(1.0, 0.2), resume=True)):
            with pytest.raises(UserError, match="^workdir: got .*no other run|^front: got"):
                train_front(other, tmp_path, digits)
    assert (tmp_path / "settings.json").read_bytes() == before


def test_latencies_of_another_network_are_refused(recipe, tmp_path, digits):
    (tmp_path / "layers.json").write_text('{"x": 1}')
    with pytest.raises(UserError, match="^workdir: got .*layers.json"):
        train_front(recipe(front=(0.1,), front_by="latency_ms"), tmp_path, digits)
    assert (tmp_path / "layers.json").read_text() == '{"x": 1}'


NET = """
import flax.linen as nn


class Net(nn.Module):
    num_classes: int = 10

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Conv(6, (3, 3), strides=2)(images)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.relu(nn.Dense(24)(x.reshape(len(images), -1)))
        return nn.Dense(self.num_classes)(x)
"""


@pytest.fixture
def own_net(tmp_path, monkeypatch):
    """Name of a network whose widths are no arguments."""
    (tmp_path / "gpnas_hard_coded.py").write_text(NET)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return "gpnas_hard_coded:Net"


@pytest.mark.exhaustive
def test_a_network_without_arguments_for_widths_has_a_front_in_place(
    recipe, digits, own_net, tmp_path
):
    config = recipe(front=(0.4,), elastic=False)
    config.model = {"name": own_net, "dtype": "float32", "axes": {}, "conv": "auto"}
    record = train_front(config, tmp_path / "run", digits)
    whole = record["whole"]["macs"]
    assert whole == 4 * 4 * 9 * 6 + 4 * 4 * 6 * 24 + 24 * 10
    for one in record["networks"]:
        conv, dense = one["units"].values()
        assert one["macs"] == 4 * 4 * 9 * conv + 4 * 4 * conv * dense + dense * 10
        assert 0.8 * one["level"] * whole < one["macs"] <= one["level"] * whole
        run = load_run(tmp_path / "run" / one["folder"], "last", digits)
        params = jax.tree.map(np.asarray, run.variables["params"])
        used = np.abs(params["Dense_0"]["kernel"]).reshape(16, 6, 24).sum((0, 2)) > 0
        assert used.sum() == conv
        assert (np.abs(params["Dense_1"]["kernel"]).sum(1) > 0).sum() == dense
        small = deploy.compact_network(run.plan.task.model, run.variables, digits.input_shape)
        assert small.macs(digits.input_shape) == one["macs"]


def test_elastic_training_refuses_a_network_without_arguments_for_widths(
    recipe, digits, own_net, tmp_path
):
    config = recipe(front=(0.5, 0.25))
    config.model = {"name": own_net, "dtype": "float32", "axes": {}, "conv": "auto"}
    with pytest.raises(UserError, match=r"^elastic: got True, allowed: .*elastic=False"):
        train_front(config, tmp_path / "run", digits)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_training_costs_are_those_of_main_run_and_branches(made):
    folder, record = made
    runs = ["main", *(one["folder"] for one in record["networks"])]
    costs = [json.loads((folder / run / "record.json").read_text())["cost"] for run in runs]
    assert record["train_flops"] == sum(cost["train_flops"] for cost in costs)
    assert record["train_flops_dense"] == costs[0]["train_flops_dense"]
    assert costs[0]["train_flops"] < costs[0]["train_flops_dense"]


@pytest.mark.parametrize(
    "field, settings",
    [
        ("front", {"front": ()}),
        ("front", {"front": (1.5, 0.5)}),
        ("front", {"front": (0.25, 0.5)}),
        ("front", {"front": (0.5, 0.5)}),
        ("front", {"front": (0.5, 0.0)}),
        ("front", {"front": (0.5, float("nan"))}),
        ("front", {"front": (0.5, "x")}),
        ("front_by", {"front_by": "seconds"}),
        ("baselines", {"elastic": False, "baselines": True}),
        ("retrain", {"elastic": False, "retrain": True}),
        ("front", {"front_by": "latency_ms", "front": (1e9,)}),
        ("front", {"front_by": "latency_ms", "front": (1e-9,)}),
        ("method.table", {"method": {"table": "layers.json"}}),
        ("branch_epochs", {"branch_epochs": 0}),
        ("train.epochs", {"train": {"epochs": 3}}),
        ("train.epochs", {"train": {"epochs": 0}, "front": (0.5,)}),
        ("front", {"front": (0.5, 0.4999999)}),
        ("method.round_to", {"method": {"round_to": 32}}),
        ("method.floor", {"method": {"floor": 0.9}}),
        ("method.curve", {"method": {"curve": ((0.0, 1.0), (1.0, 0.5))}}),
        ("method.name", {"method": {"name": "rigl", "density": 0.5}}),
        ("method.every", {"method": {"every": 20}}),
        ("train.keep_epochs", {"train": {"keep_epochs": (1,)}}),
        ("train.init_from", {"train": {"init_from": "missing"}}),
        ("train.patience", {"train": {"patience": 3}}),
        ("elastic_round_to", {"elastic_round_to": 0}),
    ],
)
def test_bad_fields_are_told_before_anything_is_written(recipe, digits, tmp_path, field, settings):
    config = recipe(front=LEVELS).unlock()
    for name, value in settings.items():
        if isinstance(value, dict):
            config[name].update(value)
        else:
            config[name] = value
    with pytest.raises(UserError) as error:
        train_front(config, tmp_path / "run", digits)
    assert error.value.field == field
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("epochs, count", [(4, 2), (8, 4), (12, 6), (16, 8), (40, 4)])
@pytest.mark.parametrize("every", [1, 3, 7, "auto"])
def test_masks_are_updated_at_each_level(recipe, digits, epochs, count, every):
    settings = FrontSettings(front=tuple(0.8 ** (i + 1) for i in range(count)))
    run = recipe().unlock()
    for field in FrontSettings._fields:
        del run[field]
    run.train.epochs, run.train.batch_size = epochs, 32
    with run.ignore_type():
        run.method.every, run.method.window = every, 1
    main = main_config(run, settings, settings.front)
    main, plan = with_updates_before_levels(main, make_plan(main, digits), digits)
    budget = cost_schedule(main.method.curve, plan.total_steps)[0]
    for level, epoch in zip(settings.front, level_epochs(epochs, settings), strict=True):
        updates = range(0, epoch * plan.steps_per_epoch, plan.durations["every"])
        assert budget(updates[-1]) == pytest.approx(level, rel=1e-4)


def test_levels_lie_at_ends_of_epochs_in_the_second_half():
    for count in range(1, 6):
        levels = tuple(0.9**i for i in range(count))
        for epochs in range(2 * count, 40):
            ends = level_epochs(epochs, FrontSettings(front=levels))
            assert ends == sorted(set(ends))
            assert ends[-1] == epochs
            assert ends[0] > epochs // 2
