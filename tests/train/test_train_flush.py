"""What comes from the device: lines of metrics, fetched together; evaluations, in one program."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from gpnas import data, timing
from gpnas.train import (
    _checkpoint,
    _evaluate,
    _loop,
    _placement,
    make_plan,
    make_program,
    train,
)
from gpnas.train._flush import chunks_ahead

RUN = """
import json, os, pathlib, sys, traceback
import jax
from ml_collections import ConfigDict
from gpnas import data
from jax._src.array import ArrayImpl
from gpnas.train import _flush, train_replicas
from tests.times import TIMES

config, folder = ConfigDict(json.loads(sys.argv[1])), pathlib.Path(sys.argv[2])
get, value, fetched, found = jax.device_get, ArrayImpl._value, [], {}
inside, implicit = [], []
def counting(tree):
    fetched.append(len(jax.tree.leaves(tree)))
    inside.append(True)
    try:
        return get(tree)
    finally:
        inside.pop()
def fetching(array):  # by float(array), numpy.asarray(array) and the like
    if not inside and array._npy_value is None:
        frames = [f for f in traceback.extract_stack() if f"{os.sep}gpnas{os.sep}" in f.filename]
        implicit.append(frames[-1].line if frames else "")
    return value.fget(array)
jax.device_get, ArrayImpl._value = counting, property(fetching)
cases = {
    "often": (0, "scan", 1), "once": (1000, "scan", 1),
    "in segments": (1000, "segments", 1), "three seeds": (1000, "segments", 3),
}
for name, (ahead, config.train.loop, seeds) in cases.items():
    _flush.chunks_ahead.__globals__["_LAG"] = ahead
    fetched.clear()
    implicit.clear()
    configs = [ConfigDict(config.to_dict() | {"seed": seed}) for seed in range(seeds)]
    folders = [folder / name / str(seed) for seed in range(seeds)]
    train_replicas(configs, folders, data.load("digits"))
    lines = [json.loads(line) for line in open(folders[0] / "metrics.jsonl")]
    fetches = {"fetched": list(fetched), "implicit": list(implicit)}
    compiled = ["compile_s" in line for line in lines]
    times = [[line.pop(name, None) for name in TIMES] for line in lines]
    found[name] = {"lines": lines, "times": times, "compiled": compiled} | fetches
print(json.dumps(found))
"""


@pytest.mark.slow
def test_an_epoch_is_fetched_at_once(python, tiny, tmp_path):
    """80 steps: four epochs of 20, lines every 7; in one loop or in segments, of any seeds."""
    config = tiny(name="rigl", density=0.2, every=5)
    config.train.checkpoint_seconds = 1e9
    process = python("-c", RUN, json.dumps(config.to_dict()), tmp_path)
    assert process.returncode == 0, process.stderr[-2000:]
    found = json.loads(process.stdout.splitlines()[-1])
    often, once, in_segments, _ = found.values()
    losses = [[line.pop("loss") for line in run["lines"]] for run in (often, once, in_segments)]
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=1e-5)  # programs differ
    assert once["lines"] == often["lines"] == in_segments["lines"] and len(once["lines"]) == 19
    fetches = {name: len(run["fetched"]) for name, run in found.items()}
    # Per epoch its lines and the evaluation; counts, a line, the test of both networks; each
    # seed's layers, twice.
    most = 2 * 4 + 4 + 2
    assert fetches.pop("often") > most
    assert fetches == {"once": most, "in segments": most, "three seeds": most + 4}
    for run in found.values():
        # The allocation to three layers, the forecast and the first step: none during the run.
        assert len(run["implicit"]) == 3 + 2, run["implicit"]
        first = [line["split"] for line in run["lines"]].index("validation")
        assert any(run["compiled"][: first + 1]) and not any(run["compiled"][first + 1 :])
    assert all(seconds > 0 for seconds, *_ in once["times"])
    walls = [wall for wall, *_ in once["times"]]
    assert walls == sorted(walls)


@pytest.mark.slow
def test_a_checkpoint_between_evaluations_has_all_its_lines(tiny, digits, tmp_path, monkeypatch):
    config, save = tiny(name="dense"), _checkpoint.save
    config.train.eval_every, config.train.keep_epochs, config.resume = 2, (1,), True
    monkeypatch.setattr(_loop, "chunks_ahead", lambda seconds: 1000)
    # Of one device: on virtual ones, programs that are sent ahead wait for each other for ever.
    one = Mesh(np.array(jax.devices()[:1]), ("data",), axis_types=(AxisType.Auto,))
    monkeypatch.setattr(_placement, "mesh", lambda: one)

    def kill(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_checkpoint, "save", kill)
        train(config, tmp_path, digits)
    assert _checkpoint.steps(tmp_path / "checkpoints") == [20]
    train(config, tmp_path, digits)
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert [line["step"] for line in lines if line["split"] == "train"][:4] == [7, 14, 20, 21]


def test_lines_lag_behind_by_a_second(monkeypatch):
    assert chunks_ahead(None) == chunks_ahead(0.01) == 0  # of eight virtual devices
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert [chunks_ahead(seconds) for seconds in (None, 60.0, 0.5, 0.01)] == [1, 1, 2, 100]


@pytest.mark.parametrize("loop", ["scan", "steps", "segments"])
def test_networks_are_evaluated_together_as_alone(loop, tiny, digits, monkeypatch):
    config = tiny(name="dense")
    config.train.loop = loop
    program = make_program(make_plan(config, digits), digits)
    states = program.init([jax.random.key(i) for i in range(3)])
    networks = program.networks(states)
    split = digits.train  # two batches, the second of 293
    together = [metrics for metrics, _ in program.predict_all(networks, split)]
    alone = [program.evaluate(network, split) for network in networks]
    assert len({metrics["loss"] for metrics in alone}) == 3
    for found, expected in zip(together, alone, strict=True):
        assert found.keys() == expected.keys()
        np.testing.assert_allclose(
            [found[name] for name in found], [expected[name] for name in found], rtol=1e-5
        )
        wrong = found["error"] * len(split)
        assert wrong == pytest.approx(round(wrong), abs=1e-3)
    for size in (1 << 28, 1):  # in one part, and in two of a batch each
        monkeypatch.setattr(_evaluate, "BYTES", size)
        metrics, classes = program.predict_all(networks[:1], split)[0]
        assert metrics == pytest.approx(alone[0], rel=1e-6)
        assert np.mean(classes != split.targets) == pytest.approx(metrics["error"])


def test_splits_are_evaluated_by_one_program(tiny, digits):
    program = make_program(make_plan(tiny(name="dense"), digits), digits)
    network = program.networks(program.init([jax.random.key(0)]))[0]
    assert len(digits.validation) <= 256 < len(digits.train)  # one batch, and several
    program.evaluate(network, digits.validation)
    with timing.compiling() as compiled:
        program.evaluate(network, digits.train)
        assert compiled() == 0


def test_metrics_and_classes_come_from_one_forward_pass(tiny, digits):
    config = tiny(name="dense")
    del config.model["widths"]
    config.model.name, config.model.conv = "convnet", "im2col"
    plan = make_plan(config, digits)
    sums, split = _evaluate._make_sums(plan, digits), digits.test
    shapes = [
        jax.ShapeDtypeStruct((3, 16, *x.shape[1:]), x.dtype) for x in (split.inputs, split.targets)
    ]
    batches = (*shapes, jax.ShapeDtypeStruct((3,), jnp.int32))

    def products(f):
        loop = jax.jit(lambda variables, *batches: jax.lax.map(lambda x: f(variables, *x), batches))
        return loop.lower(plan.variables, *batches).compile().as_text().count(" dot(")

    def infer(variables, inputs, *others):
        return plan.task.model.infer(variables, data.standardize(inputs, digits))

    assert products(sums) == products(infer) > 0


@pytest.mark.parametrize("epochs, rate, times", [(1, 0.1, 1), (2, 1e-12, 2)])
def test_the_test_set_is_evaluated_for_each_of_two_networks(
    epochs, rate, times, tiny, digits, tmp_path, monkeypatch
):
    """At a tiny rate, the first of two equal networks is the selected one."""
    splits = []

    def watched(plan, *args, **more):
        program = make_program(plan, *args, **more)

        def predict_all(networks, split):
            splits.append(split)
            return program.predict_all(networks, split)

        return program._replace(predict_all=predict_all)

    monkeypatch.setattr(_loop, "make_program", watched)
    config = tiny(name="dense")
    config.train.epochs, config.optimizer.learning_rate = epochs, rate
    metrics = train(config, tmp_path / "run", digits)["metrics"]
    assert sum(split is digits.test for split in splits) == times
    assert metrics["test_error_last"] == metrics["test_error_selected"]


def on_device(split):
    """Arrays of the split's images in padded batches of 100 that are on a device."""
    shape = (-(-len(split) // 100), 100, *split.inputs.shape[1:])
    return [x for x in jax.live_arrays() if x.shape == shape]


@pytest.mark.parametrize("loop", ["scan", "steps", "segments"])
def test_validation_examples_are_sent_to_the_device_once(loop, tiny, digits, monkeypatch):
    monkeypatch.setattr(_evaluate, "eval_batch_size", lambda: 100)
    config = tiny(name="dense")
    config.train.loop = loop
    program = make_program(make_plan(config, digits), digits)
    networks = program.networks(program.init([jax.random.key(i) for i in range(2)]))
    assert not on_device(digits.validation)
    first = program.predict_all(networks, digits.validation)
    with jax.transfer_guard_host_to_device("disallow_explicit"):
        again = program.predict_all(networks, digits.validation)
    jax.tree.map(np.testing.assert_array_equal, again, first)
    assert len(on_device(digits.validation)) == 1
    with timing.compiling() as compiled:  # the program of a split that is sent
        program.predict_all(networks, data.Split(*dataclasses.astuple(digits.validation)))
        assert compiled() == 0
    assert len(on_device(digits.validation)) == 1
    del program
    assert not on_device(digits.validation)


@pytest.mark.parametrize("reason", ["streamed", "large"])
def test_validation_examples_that_may_not_fit_do_not_stay(reason, tiny, digits, monkeypatch):
    plan, split = make_plan(tiny(name="dense"), digits), digits.validation
    if reason == "streamed":
        plan = plan._replace(stream=5)
    else:
        monkeypatch.setattr(_evaluate, "eval_batch_size", lambda: 100)
        monkeypatch.setattr(_evaluate, "BYTES", 1)
    predict_all = _evaluate.make_predict_all(plan, digits)
    before = sum(x.nbytes for x in jax.live_arrays())
    variables = jax.device_get(plan.task.init(jax.random.key(0), digits.train.inputs[:1]))
    predict_all([variables], split)
    assert sum(x.nbytes for x in jax.live_arrays()) <= before
