"""Streamed training examples: the run of a training set on the device."""

import importlib.util
import json

import numpy as np
import pytest

from gpnas.errors import UserError
from gpnas.train import _checkpoint, _feed, _placement, make_plan, train, train_replicas
from gpnas.train._shuffle import batch_order

streaming = pytest.mark.skipif(
    importlib.util.find_spec("grain") is None, reason="needs Grain, of the extra stream"
)


@pytest.fixture
def config(tiny):
    """A run of 40 steps, in lines of 7."""
    made = tiny(name="rigl", density=0.2, every=5)
    made.data.augment = "pad_crop(1)|flip_lr|mixup(0.2)"
    made.train.epochs = 2
    return made


@pytest.fixture
def three_steps(monkeypatch):
    """Streams send three steps of 64 digits at once."""
    monkeypatch.setattr(_feed, "BYTES", 3 * 64 * (64 + 4))


def losses(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["split"] == "train"]


def assert_same(one, other, *folders):
    """Two runs whose programs differ are equal but for rounding."""
    assert one["layers"] == other["layers"]
    np.testing.assert_allclose(*map(losses, folders), rtol=1e-4)


@streaming
@pytest.mark.exhaustive
@pytest.mark.parametrize(("parallel", "loop"), [("jit", "segments"), ("pmap", "scan")])
def test_a_streamed_run_is_the_same_on_eight_devices(
    parallel, loop, config, digits, tmp_path, three_steps
):
    config.train.parallel, config.train.loop = parallel, loop
    config.train.profile = (4, 9)
    config.train.feed = "device"
    device = train(config, tmp_path / "device", digits)
    config.train.feed = "stream"
    stream = train(config, tmp_path / "stream", digits)
    assert_same(stream, device, tmp_path / "stream", tmp_path / "device")


@streaming
@pytest.mark.slow
def test_a_run_goes_on_with_either_feed(config, digits, tmp_path, stop_at, three_steps):
    config.train.feed = "device"
    whole = train(config, tmp_path / "whole", digits)
    config.resume = True
    for feeds in (("device", "stream"), ("stream", "device")):
        folder = tmp_path / feeds[0]
        config.train.feed = feeds[0]
        with stop_at(11):
            train(config, folder, digits)
        config.train.feed = feeds[1]
        found = train(config, folder, digits)
        assert_same(found, whole, folder, tmp_path / "whole")


@streaming
@pytest.mark.slow
def test_a_streamed_run_that_was_stopped_ends_in_the_same_state(
    config, digits, tmp_path, stop_at, three_steps
):
    """It stops at step 14, the second of the three steps that are sent at once."""
    config.train.feed, config.resume = "stream", True
    whole = train(config, tmp_path / "whole", digits)
    with stop_at(11):
        train(config, tmp_path / "parts", digits)
    assert _checkpoint.steps(tmp_path / "parts" / "checkpoints")[-1] == 14
    found = train(config, tmp_path / "parts", digits)
    assert found["state_sha256"] == whole["state_sha256"] and len(whole["state_sha256"]) == 64


RUN = """
import json, pathlib, sys
import jax
from ml_collections import ConfigDict
from gpnas import data
from gpnas.train import _feed, train

config, folder = ConfigDict(json.loads(sys.argv[1])), pathlib.Path(sys.argv[2])
_feed.BYTES = 3 * 64 * (64 + 4)
digits, found = data.load("digits"), {"devices": jax.device_count()}
for config.train.feed in ("device", "stream"):
    record = train(config, folder / config.train.feed, digits)
    found[config.train.feed] = record["state_sha256"]
print(json.dumps(found))
"""


@pytest.mark.exhaustive
@streaming
def test_a_streamed_run_is_the_same_on_one_device(config, python, tmp_path):
    (tmp_path / "run.py").write_text(RUN)
    done = python(tmp_path / "run.py", config.to_json(), tmp_path, devices=1)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["devices"] == 1 and found["stream"] == found["device"]


@streaming
@pytest.mark.exhaustive
def test_seeds_that_train_at_once_are_streamed_each_in_its_order(
    config, digits, tmp_path, three_steps
):
    runs = []
    for feed in ("device", "stream"):
        config.train.feed = feed
        both = [config.copy_and_resolve_references() for _ in range(2)]
        both[1].seed = 1
        folders = [tmp_path / f"{feed}{one.seed}" for one in both]
        runs.append(zip(train_replicas(both, folders, digits), folders, strict=True))
    for (device, at), (stream, other) in zip(*runs, strict=True):
        assert_same(device, stream, at, other)
    assert losses(tmp_path / "stream0") != losses(tmp_path / "stream1")


@streaming
@pytest.mark.exhaustive
def test_an_elastic_run_is_streamed(tiny, digits, tmp_path):
    config = tiny(name="development_units", density=0.25, every=5, window=3)
    config.elastic, config.elastic_round_to, config.train.epochs = True, 8, 2
    found = {}
    for config.train.feed in ("device", "stream"):
        found[config.train.feed] = train(config, tmp_path / config.train.feed, digits)
    assert_same(found["stream"], found["device"], tmp_path / "stream", tmp_path / "device")


def test_the_calls_of_a_run_end_where_lines_epochs_and_streams_do(config):
    config.train.profile = (4, 9)
    bounds = _feed.call_bounds(config.train, 10, 0, 0, 20)
    assert bounds == [0, 4, 7, 9, 10, 14, 20]
    assert _feed.call_bounds(config.train, 10, 3, 12, 20) == [12, 14, 15, 18, 20]
    assert _feed.call_bounds(config.train, 10, 0, 20, 20) == [20]


@pytest.mark.parametrize("stream", [False, pytest.param(True, marks=streaming)])
def test_a_feed_has_the_order_of_the_run(stream, digits):
    orders = [batch_order(len(digits.train), 64, seed) for seed in (0, 1)]
    bounds = [15, 18, 20, 22]
    with _feed.open_feed(digits.train, orders, bounds, 3, stream) as feed:
        found = list(feed)
    assert [steps for steps, _ in found] == [3, 2, 2]
    for begin, (steps, rows) in zip(bounds, found, strict=False):
        expected = np.stack([order(begin, steps) for order in orders])
        if stream:
            assert rows[0].shape == (2, 3, 64, 8, 8, 1)
            np.testing.assert_array_equal(rows[0][:, :steps], digits.train.inputs[expected])
            np.testing.assert_array_equal(rows[1][:, :steps], digits.train.targets[expected])
        else:
            assert rows.shape == (2, 3, 64) and rows.dtype == np.int32
            np.testing.assert_array_equal(rows[:, :steps], expected)


@streaming
def test_a_feed_that_is_left_reads_no_further(digits):
    order = batch_order(len(digits.train), 64, 0)
    read = []

    def watched(step, count):
        read.append(step)
        return order(step, count)

    with _feed.open_feed(digits.train, [watched], list(range(21)), 1, True) as feed:
        next(feed)
    assert len(read) <= 1 + _feed._AHEAD + _feed._THREADS
    with pytest.raises(ValueError):
        next(feed)


def test_large_sets_are_streamed(config, digits, monkeypatch):
    assert make_plan(config, digits).stream == 0
    size = digits.train.inputs.nbytes + digits.train.targets.nbytes
    monkeypatch.setattr(_feed, "device_bytes", lambda: 4 * size - 1)
    assert make_plan(config, digits).stream == 7  # as many steps as a line has
    config.train.feed = "device"
    assert make_plan(config, digits).stream == 0
    config.train.feed = "stream"
    monkeypatch.setattr(_feed, "BYTES", 1)
    assert make_plan(config, digits).stream == 1


@pytest.mark.parametrize(
    ("feed", "allowed"), [("disk", "auto, device, stream"), ("stream", r"gpnas\[stream\]")]
)
def test_a_feed_that_cannot_be_is_one_line(feed, allowed, config, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config.train.feed = feed
    with pytest.raises(
        UserError, match=f"^train.feed: got '{feed}', allowed: .*{allowed}"
    ) as caught:
        train(config, tmp_path / "run", digits)
    assert "\n" not in str(caught.value)


def test_each_process_reads_its_own_columns(monkeypatch):
    class Device:
        def __init__(self, process):
            self.process_index = process

    monkeypatch.setattr(_placement.jax, "devices", lambda: [Device(i) for i in (0, 1, 1, 0)])
    monkeypatch.setattr(_placement.jax, "process_index", lambda: 1)
    np.testing.assert_array_equal(_placement.own_columns(8), [2, 3, 4, 5])
