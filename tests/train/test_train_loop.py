"""The loop and its folder: order, logs, ends good and bad, and what is never overwritten."""

import contextlib
import dataclasses
import json
import math
import os
import signal
import struct

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from gpnas import _stop
from gpnas._files import append_line, line_of, read_lines
from gpnas.errors import UserError
from gpnas.train import Diverged, _checkpoint, _loop, _plan, train
from gpnas.train._metrics import progress, time_left
from gpnas.train._record import warn_of_empty
from gpnas.train._shuffle import batch_order
from gpnas.train._workdir import Written, keep_written, locked_run


@pytest.fixture
def dense(tiny):
    """A run of 40 steps."""
    config = tiny(name="dense")
    config.train.epochs = 2
    return config


@pytest.fixture(scope="module")
def finished(tiny, digits, tmp_path_factory):
    """`(config, folder, record)` of a run that has ended; not to be changed."""
    config, folder = tiny(name="gmp", density=0.2, every=5), tmp_path_factory.mktemp("run") / "a"
    config.train.epochs, config.train.tensorboard = 2, True
    return config, folder, train(config, folder, digits)


def content(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_order():
    order = batch_order(103, 10, 7)
    epochs = [order(10 * epoch, 10) for epoch in range(3)]
    for rows in epochs:
        assert rows.dtype == np.int32
        assert len(set(rows.ravel())) == 100  # each at most once, three left out
        assert rows.min() >= 0
        assert rows.max() < 103
    assert not np.array_equal(epochs[0], epochs[1])
    np.testing.assert_array_equal(order(13, 4), epochs[1][3:7])
    np.testing.assert_array_equal(order(18, 4), np.pad(epochs[1][8:], ((0, 2), (0, 0))))
    np.testing.assert_array_equal(batch_order(103, 10, 7)(25, 5), epochs[2][5:])
    assert not np.array_equal(batch_order(103, 10, 8)(0, 10), epochs[0])


@pytest.mark.slow
def test_folder(finished, digits):
    config, folder, record = finished
    assert json.loads((folder / "record.json").read_text()) == json.loads(json.dumps(record))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if row["split"] == "train"]
    assert steps == [7, 14, 20, 21, 28, 35, 40]
    told = [row["learning_rate"] for row in rows if row["split"] == "train"]
    expected = [0.05 * (1 + math.cos(math.pi * (n - 1) / 40)) for n in steps]
    assert told == pytest.approx(expected, rel=1e-4)
    assert [row["step"] for row in rows if row["split"] == "validation"] == [20, 40]
    assert all(row["wall_s"] >= 0 for row in rows)
    counts = np.array(record["confusion"])
    np.testing.assert_array_equal(counts.sum(1), np.bincount(digits.test.targets))
    wrong = 100 * (1 - np.trace(counts) / counts.sum())
    assert record["metrics"]["test_error_last"] == pytest.approx(wrong, abs=1e-4)
    assert np.load(folder / "receptive.npz")["live"].shape == (8, 8)
    mistakes = np.load(folder / "mistakes.npz")
    pairs = list(dict.fromkeys(zip(mistakes["classes"], mistakes["predicted"], strict=True)))
    wrong = [counts[pair] for pair in pairs]
    off = counts - np.diag(np.diag(counts))
    assert wrong == sorted(wrong, reverse=True) and wrong == sorted(off.ravel())[::-1][: len(wrong)]
    assert len(mistakes["images"]) == sum(min(n, 6) for n in wrong)
    for image, label in zip(mistakes["images"], mistakes["classes"], strict=True):
        same = (digits.test.inputs == image).all((1, 2, 3))
        assert label in np.asarray(digits.test.targets)[same]
    assert json.loads((folder / "config.json").read_text())["config"]["seed"] == config.seed


def scalars(folder):
    """`{tag: steps}` as TensorBoard shows them: a start forgets the steps from its own on."""
    found = {}
    for path in sorted((folder / "tensorboard").iterdir(), key=lambda p: p.stat().st_mtime_ns):
        raw, at = path.read_bytes(), 0
        while at < len(raw):
            (length,) = struct.unpack_from("<Q", raw, at)
            event = Event.FromString(raw[at + 12 : at + 12 + length])
            at += 16 + length
            if event.session_log.status == SessionLog.START:
                found = {tag: [s for s in steps if s < event.step] for tag, steps in found.items()}
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    return found


@pytest.mark.slow
def test_tensorboard_after_a_kill(finished, digits, tmp_path, monkeypatch):
    config = finished[0].copy_and_resolve_references()
    save = _checkpoint.save

    class Killed(BaseException):
        pass

    def kill(folder, step, *rest):
        if step == 40:
            raise Killed
        save(folder, step, *rest)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(_checkpoint, "save", kill)
        train(config, tmp_path, digits)
    config.resume = True
    train(config, tmp_path, digits)
    assert scalars(tmp_path) == scalars(finished[1])
    for name in ("loss", "learning_rate"):
        assert scalars(tmp_path)[f"train/{name}"] == [7, 14, 20, 21, 28, 35, 40]
    assert scalars(tmp_path)["train/density/Dense_0/kernel"]


def test_a_finished_run_returns_at_once(finished, digits, monkeypatch):
    config, folder, record = finished
    before = content(folder)
    again = config.copy_and_resolve_references()
    again.resume = True
    monkeypatch.setattr(_loop, "make_program", None)
    assert train(again, folder, digits) == json.loads(json.dumps(record))
    assert content(folder) == before


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("workdir", {}),
        ("seed", {"seed": 1, "resume": True}),
        ("method.density", {"method.density": 0.3, "resume": True}),
        ("optimizer.learning_rate", {"optimizer.learning_rate": 0.2, "resume": True}),
        ("optimizer.arguments.nesterov", {"optimizer.arguments.nesterov": True, "resume": True}),
        ("model.widths", {"model.widths": (32, 17), "resume": True}),
        ("train.epochs", {"train.epochs": 3, "resume": True}),
        ("data.augment", {"data.augment": "flip_lr", "resume": True}),
    ],
)
def test_another_run_is_refused(finished, digits, field, change):
    config, folder, _ = finished
    before = content(folder)
    other = config.copy_and_resolve_references()
    with other.unlocked():
        other.update_from_flattened_dict(change)
    with pytest.raises(UserError) as caught:
        train(other, folder, digits)
    assert caught.value.field == field
    assert content(folder) == before


def test_what_may_change_between_runs(finished, digits):
    config, folder, record = finished
    other = config.copy_and_resolve_references()
    other.resume, other.data.cache_dir = True, "elsewhere"
    other.train.checkpoint_seconds, other.train.tensorboard = 60.0, False
    assert train(other, folder, digits)["seed"] == record["seed"]


def test_a_folder_in_use(dense, digits, tmp_path):
    with locked_run(tmp_path), pytest.raises(UserError, match="no other run is using"):
        train(dense, tmp_path, digits)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with locked_run(tmp_path):
        pass


def test_a_folder_that_cannot_be(dense, digits, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="workdir: .* a folder that can be written"):
        train(dense, tmp_path / "file", digits)


def test_lines(tmp_path):
    path = tmp_path / "lines"
    assert read_lines(path) == []
    for step in (1, 2, 3):
        append_line(path, {"step": step})
    with open(path, "a") as file:
        file.write('{"step": 4, "lo')
    assert [line["step"] for line in read_lines(path)] == [1, 2, 3]
    append_line(path, {"step": 5})
    assert [line["step"] for line in read_lines(path)] == [1, 2, 3, 5]
    two = Written().then(line_of({"step": 1})).then(line_of({"step": 2}))
    assert [line["step"] for line in keep_written(path, two)] == [1, 2]
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    with pytest.raises(UserError, match="resume: got .*lines.* the 3 lines that the run wrote"):
        keep_written(path, two.then(line_of({"step": 3})))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_torn_line_and_lines_from_the_future(dense, digits, tmp_path, stop_at):
    with stop_at(20):
        train(dense, tmp_path, digits)
    metrics = tmp_path / "metrics.jsonl"
    before = metrics.read_text()
    later = {"step": 27, "split": "train", "wall_s": 1e6}
    metrics.write_text(before + json.dumps(later) + '\n{"step": 28, "spl')
    dense.resume = True
    assert train(dense, tmp_path, digits)["wall_s"] < 1e6
    assert metrics.read_text().startswith(before)
    steps = [row["step"] for row in read_lines(metrics) if row["split"] == "train"]
    assert steps == [7, 14, 20, 21, 28, 35, 40]


@pytest.mark.slow
def test_lost_lines_are_noticed(dense, digits, tmp_path, stop_at):
    with stop_at(20):
        train(dense, tmp_path, digits)
    (tmp_path / "metrics.jsonl").unlink()
    dense.resume = True
    with pytest.raises(UserError, match=r"resume: .*checkpoints.* of this run"):
        train(dense, tmp_path, digits)


@pytest.mark.slow
def test_a_loss_that_is_not_finite(dense, digits, tmp_path, monkeypatch):
    """The last step before a checkpoint blows up: the checkpoint before it must stay."""
    build = _plan.build_optimizer

    def late(config, steps, axes):
        blow = optax.scale_by_schedule(lambda step: jnp.where(step < 39, 1.0, jnp.inf))
        return optax.chain(build(config, steps, axes), blow)

    whole = train(dense, tmp_path / "whole", digits)
    with monkeypatch.context() as patch:
        patch.setattr(_plan, "build_optimizer", late)
        with pytest.raises(Diverged, match="validation loss is nan at step 40"):
            train(dense, tmp_path / "run", digits)
    names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert names == {"20", "20.digest.json"}
    assert not (tmp_path / "run" / "record.json").exists()
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        assert "NaN" not in line
        assert "Infinity" not in line
    dense.resume = True
    with monkeypatch.context() as patch:
        harmless = optax.scale_by_schedule(lambda step: 1.0)
        patch.setattr(_plan, "build_optimizer", lambda *a: optax.chain(build(*a), harmless))
        again = train(dense, tmp_path / "run", digits)
    assert again["metrics"] == whole["metrics"]


@pytest.mark.slow
def test_it_says_where_it_diverged(dense, digits, tmp_path):
    dense.optimizer.learning_rate = 1e30
    with pytest.raises(Diverged, match="the train loss is (nan|inf) at step 7"):
        train(dense, tmp_path, digits)


@pytest.mark.slow
def test_other_data_is_refused(dense, digits, tmp_path, stop_at):
    with stop_at(20):
        train(dense, tmp_path, digits)
    dense.resume = True
    with pytest.raises(UserError, match="dataset_sha256"):
        train(dense, tmp_path, dataclasses.replace(digits, sha256="other"))


def test_plain_lines_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("time.monotonic", iter(range(0, 400, 4)).__next__)
    with progress(100, "a [name]") as show:
        for step in range(100):
            show(step, f"half way at {step}" if step in (0, 1, 50) else "")
    captured = capsys.readouterr()
    plain = [f"a [name] {step}/100 half way at {step}" for step in (0, 1, 50)]
    assert captured.err.splitlines() == [*plain[:2], f"{plain[2]}, 3:20 left"]
    assert not captured.out


@pytest.mark.slow
def test_the_progress_can_be_shown_otherwise(dense, digits, tmp_path, capsys):
    shown = []

    @contextlib.contextmanager
    def own(steps, title):
        yield lambda step, text: shown.append((step, steps, title))

    train(dense, tmp_path, digits, progress=own)
    total = shown[-1][0]
    assert {line[1:] for line in shown} == {(total, "dense")}
    assert [line[0] for line in shown] == sorted(line[0] for line in shown)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("done", "seconds", "steps", "text"),
    [
        (10, 19.0, 100, "3:10"),
        (1, 0.1, 1, "0:01"),
        (5, 5, 3790, "1:03:10"),
        (0, 9, 5, ""),
        (9, 9, 0, ""),
    ],
)
def test_time_left(done, seconds, steps, text):
    assert time_left(done, seconds, steps) == text


@contextlib.contextmanager
def signalled(number):
    with _stop.stop_signal() as stopped:
        assert not stopped()
        os.kill(os.getpid(), number)
        yield stopped


@pytest.fixture
def interruptible():
    """SIGINT as in the foreground: a program started in the background has it ignored."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.usefixtures("interruptible")
def test_signals():
    before = signal.getsignal(signal.SIGTERM)
    with signalled(signal.SIGTERM) as stopped:
        assert stopped()
        assert signal.getsignal(signal.SIGTERM) == before  # a second one acts at once
    assert signal.getsignal(signal.SIGTERM) == before
    with signalled(signal.SIGINT) as stopped, pytest.raises(KeyboardInterrupt):
        assert stopped()
        signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "said"), [(648, True), (256, False)])
def test_images_that_an_epoch_leaves_out_are_reported(dense, digits, tmp_path, caplog, batch, said):
    dense.train.epochs, dense.train.batch_size = 1, batch
    train(dense, tmp_path, digits)
    left = f"drops {len(digits.train) % batch} of {len(digits.train)} training examples"
    assert (left in caplog.text) == said


@pytest.mark.parametrize(
    "nonzeros, line, said",
    [(0, {}, ["no active weights in Dense_1/kernel"]), (0, {"units": {}}, []), (3, {}, [])],
)
def test_a_layer_without_active_weights_is_logged(caplog, nonzeros, line, said):
    layers = [{"path": "Dense_0/kernel", "nonzeros": 9}]
    warn_of_empty([*layers, {"path": "Dense_1/kernel", "nonzeros": nonzeros}], [line])
    assert caplog.messages == said
