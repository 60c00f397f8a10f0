"""Every config trains; what its record says is what happened."""

import importlib
import inspect
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import development_units
from experiments.studies.fashion import config as fashion
from experiments.studies.recipes import pinned
from experiments.studies.tuning import config as tuning
from gpnas import data
from gpnas.methods import METHODS, duration
from gpnas.records import read_lines
from gpnas.train import config_key, settings, train
from tests.cases import some

FOLDER = Path(__file__).parents[2] / "configs"
#: Configs that are trained in each run of the tests; their methods are tested in tests/methods.
OFTEN = {"development", "resnet_tpu", "l0", "serene"}
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "front"))

RECORD = {"checkpoints", "class_names", "digest", "kinds",
    "study", "arm", "config", "seed", "date", "git", "versions", "machine", "dataset", "task",
    "dataset_sha256", "total_steps", "batch_size", "durations", "expected", "metrics", "cost",
    "layers", "evaluations", "curve", "analysis", "confusion",
    "compilations", "wall_s", "seconds", "state_sha256",
}  # fmt: skip
METRICS = {
    "test_error_last", "test_error_selected", "val_error_last", "val_error_selected",
    "selected_step",
}  # fmt: skip
COST = {
    "params", "weights", "nonzeros", "nonzeros_with_bias", "density", "inference_macs",
    "inference_macs_dense", "train_flops", "train_flops_dense", "mean_training_density",
}  # fmt: skip
LAYER = {"path", "shape", "nonzeros", "dead_in", "dead_out"}
POINT = {"step", "density", "grown", "pruned", "skipped", "layers"}
SMALLER = {
    "density": 0.2, "peak": 3.0, "phases": 2, "rounds": 3, "drops": (0.5,),
}  # fmt: skip
GATED = {"l0", "l0_arm", "npn_expand", "npn_sparsify"}  # all weights learn, open gate or shut
UNTOLD = GATED | {
    "development_cost",
    "lobster",
    "sensitivity",
    "serene",
    "sparse_vd",
}  # the data decide the density


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """`side → data set`."""
    cache = tmp_path_factory.mktemp("cache")
    return {side: data.load("digits", cache_dir=cache, image_size=side) for side in (8, 16)}


def small(name):
    """A config of the folder, for a small network on the digits: 120 steps."""
    config = importlib.import_module(f"configs.{name}").get_config()
    config.data.name, config.train.batch_size, config.train.epochs = "digits", 32, 3
    config.train.log_every, config.train.tensorboard = 25, False
    config.optimizer.warmup_at = 0.0
    config.train.init_from = ""  # configs/slim.py needs one; any network is as good for it
    config.optimizer.learning_rate = 0.1 if config.optimizer.name == "sgd" else 0.01
    for field, value in SMALLER.items():
        if config.method.get(field):
            config.method[field] = value
    if name == "lottery":
        config.train.epochs = 10  # of which each is a training
    if config.model.name == "cellnet":
        config.data.image_size, config.model.channels, config.train.epochs = 0, 2, 2
    elif config.model.name == "resnet":
        config.model.width, config.model.blocks, config.train.epochs = 16, 1, 4
        if config.data.augment:  # digits are small, and are not what they are when mirrored
            config.data.augment = "pad_crop(1)"
    else:
        config.model.widths = {"convnet": (4, 6, 6, 8), "lenet5": (4, 8, 16)}.get(
            config.model.name, (32,)
        )
    return config


@pytest.mark.slow
@pytest.mark.usefixtures("one_stage")
@pytest.mark.parametrize("name", some(NAMES, OFTEN))
def test_it_trains(name, digits, tmp_path, all_saves):
    config = small(name)
    with all_saves() as saves:
        record = train(config, tmp_path, digits[16 if config.model.name == "lenet5" else 8])
    state = saves[tmp_path][max(saves[tmp_path])][0]

    by_units = config.method.name in ("development_cost", "development_units")
    assert record.keys() == RECORD | ({"architecture"} if by_units else set())
    assert record["metrics"].keys() == METRICS
    assert record["cost"].keys() == COST
    assert all(layer.keys() == LAYER for layer in record["layers"])
    assert all(point.keys() - {"units"} == POINT for point in record["curve"])
    assert json.loads(json.dumps(record, allow_nan=False)) == json.loads(
        (tmp_path / "record.json").read_text()
    )
    assert record["arm"] == config.method.name
    assert record["compilations"] == 1

    errors = [v for k, v in record["metrics"].items() if "error" in k]
    assert all(0 <= error <= 100 for error in errors)
    assert record["metrics"]["test_error_last"] < (60 if config.model.name == "lenet300" else 85)

    # masks, parameters and counts are one story
    masks = {path: np.array(m) for path, m in jax.tree_util.tree_leaves_with_path(state.masks)}
    params = {path: np.array(p) for path, p in jax.tree_util.tree_leaves_with_path(state.params)}
    masks = {path: mask for path, mask in masks.items() if mask.ndim}
    living = sum(int(mask.sum()) for mask in masks.values())
    cost, curve = record["cost"], record["curve"]
    assert cost["nonzeros"] == living == sum(layer["nonzeros"] for layer in record["layers"])
    assert [layer["nonzeros"] for layer in record["layers"]] == [
        int(mask.sum()) for mask in masks.values()
    ]
    if config.method.name not in GATED | {
        "ste",
        "topkast",
        "development_cost",
        "development_units",
    }:
        assert all(not np.any(params[path][~mask]) for path, mask in masks.items())
        real = sum(np.count_nonzero(params[path]) for path in masks)
        assert 0.9 * living <= real <= living  # a newborn may still be zero
    if config.method.name in ("dense", "gmp", "static"):
        assert real == living
    assert cost["density"] == pytest.approx(living / cost["weights"])
    if config.method.name in UNTOLD:
        assert cost["density"] >= config.method.get("density", 0)
    elif by_units:
        known = 0.5 if config.model.name == "cellnet" else 0.1  # the data choose the operations
        assert cost["density"] == pytest.approx(record["expected"]["density"], rel=known)
    elif config.method.name != "lottery":
        assert cost["density"] == pytest.approx(config.method.get("density", 1), abs=2e-3)
    assert cost["nonzeros_with_bias"] - cost["nonzeros"] == cost["params"] - cost["weights"]
    assert curve[-1]["step"] == record["total_steps"]
    assert curve[-1]["density"] == cost["density"]

    # grown less pruned is what is left over the start
    moved = sum(point["grown"] - point["pruned"] for point in curve)
    begun = living - moved
    assert 0 <= begun <= cost["weights"]
    dense_start = ("dense", "gmp", "one_shot", "iterative", "acdc", "snip")
    if config.method.name in dense_start:
        assert begun == cost["weights"]
    for before, now in zip(curve, curve[1:], strict=False):
        change = (now["density"] - before["density"]) * cost["weights"]
        assert now["grown"] - now["pruned"] == pytest.approx(change, abs=0.01)

    # what was expected is what it cost
    expected = record["expected"]
    assert cost["train_flops_dense"] == expected["train_flops_dense"]
    for field in ("params", "weights", "inference_macs_dense"):
        assert cost[field] == expected[field]
    if config.method.name in UNTOLD:
        assert cost["train_flops"] <= expected["train_flops_at_most"] * (1 + 1e-6)
        assert "train_flops" not in expected
        return
    if config.model.name == "lenet300":
        ratio = cost["train_flops"] / expected["train_flops"]
        assert 0.93 < ratio < 1.07
        assert cost["mean_training_density"] == pytest.approx(
            expected["mean_training_density"], rel=0.1
        )
    assert 0 < cost["train_flops"] <= cost["train_flops_dense"] * (1 + 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(name):
    module = importlib.import_module(f"configs.{name}")
    assert f"--config={name} " in module.__doc__
    assert module.get_config.__doc__
    assert module.get_config().to_dict() == module.get_config().to_dict()


@pytest.mark.slow
def test_studies():
    names = [name for name, seeds in settings(fashion.get_config())]
    assert sorted(names) == [
        "dense", "development-0.02", "gmp sparse start-0.02", "gmp-0.02", "granet-0.02",
        "pipeline-0.02", "random-0.02", "rigl-0.02",
    ]  # fmt: skip
    for config in (fashion.get_config(), tuning.get_config()):
        found = list(settings(config))
        assert len({name for name, _ in found}) == len(found)
        assert {len(seeds) for _, seeds in found} == {len(config.seeds)}
    tuned = [arm.split()[0] for arm in tuning.get_config().arms]
    assert min(tuned.count(method) for method in ("gmp", "rigl", "pipeline", "development")) >= 8
    assert not set(tuning.get_config().seeds) & set(fashion.get_config().seeds)


def test_automatic_durations_of_the_standard_run_are_those_of_the_records():
    fields = inspect.signature(METHODS["development_units"]).parameters
    found = duration.resolve(development_units.get_config().method.to_dict(), fields, 4210, 10)
    auto = {"every": 100, "window": 20}
    assert found == auto
    assert pinned(development_units.get_config()).method.to_dict().items() >= auto.items()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["curves", "elastic", "fashion", "learners", "lenet300", "lenet5", "tickets", "tuning"]
)
def test_nothing_is_missing_of_a_study_that_was_run(name):
    config = importlib.import_module(f"experiments.studies.{name}.config").get_config()
    path = FOLDER.parent / "results" / config.study / "records.jsonl"
    done = [config_key(record["config"]) for record in read_lines(path)]
    missing = {
        setting
        for setting, seeds in settings(config)
        for one in seeds
        if config_key(one.to_dict()) not in done
    }
    never_run = {
        "lenet300": {"sparse VD", "sparse VD KL×0.3"},
        "lenet5": {"LeNet-5 L0", "LeNet-5 SeReNe mean", "LeNet-5 SeReNe sum"},
    }
    assert missing <= never_run.get(name, set())
