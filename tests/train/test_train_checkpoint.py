"""Checkpoints: whole or not at all, and never silently another."""

import errno
import os
import shutil
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from absl import logging as absl_logging

from gpnas.errors import UserError
from gpnas.train import _checkpoint, _loop, load_run, make_plan, train


def tree(seed=0):
    key = jax.random.key(seed)
    return {
        "mask": jax.random.bernoulli(key, 0.3, (17, 5)),
        "param": jax.random.normal(key, (17, 5)),
        "half": jnp.full((3,), seed, jnp.bfloat16),
        "step": jnp.int32(seed),
        "key": key,
        "none": {},
    }


def plain(x):
    key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.array(jax.random.key_data(x) if key else x)


def same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(plain(x), plain(y)), a, b)
    assert jax.tree.map(lambda x: x.dtype, a) == jax.tree.map(lambda x: x.dtype, b)


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of steps 10, 20 and 30, of which the first has gone."""
    for step in (10, 20, 30):
        _checkpoint.save(tmp_path / "c", step, tree(step))
    return tmp_path / "c"


def files(folder, step):
    return sorted(p for p in (folder / str(step)).rglob("*") if p.is_file())


def test_round_trip_and_the_last_two(folder, tmp_path):
    assert _checkpoint.restore(tmp_path / "none", tree()) is None
    step, found = _checkpoint.restore(folder, tree())
    assert step == 30
    same(found, tree(30))
    names = {path.name for path in folder.iterdir()}
    assert names == {"20", "20.digest.json", "30", "30.digest.json"}


def test_steps_that_are_kept_stay_and_can_be_read(folder):
    for step in (40, 50, 60):
        _checkpoint.save(folder, step, tree(step), None, (30, 40, 70))
    assert _checkpoint.steps(folder) == [30, 40, 50, 60]
    for last, found in ((None, 60), (45, 40), (30, 30)):
        step, restored = _checkpoint.restore(folder, tree(), last=last)
        assert step == found
        same(restored, tree(found))


def flip(path, at=0.5):
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 4
    path.write_bytes(bytes(content))


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["emptied", "missing", "extra", "link", "linked folder", "pipe"])
def test_other_damage(folder, damage, tmp_path):
    victim = max(files(folder, 30), key=lambda path: path.stat().st_size)
    if damage == "emptied":
        victim.write_bytes(b"")
    elif damage == "missing":
        victim.unlink()
    elif damage == "extra":
        (victim.parent / "more").write_text("")
    elif damage == "link":
        victim.rename(tmp_path / "elsewhere")
        victim.symlink_to(tmp_path / "elsewhere")
    elif damage == "linked folder":
        (folder / "30").rename(tmp_path / "elsewhere")
        (folder / "30").symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(victim.parent / "pipe")
    assert _checkpoint.restore(folder, tree())[0] == 20


def test_both_damaged_is_one_line(folder):
    for step in (20, 30):
        flip(files(folder, step)[0])
    with pytest.raises(UserError, match="resume: got .* an undamaged checkpoint"):
        _checkpoint.restore(folder, tree())
    assert (folder / "20").exists()


@pytest.mark.parametrize(
    ("field", "leaf"),
    [("mask", jnp.zeros((17, 5))), ("param", jnp.zeros((17, 6))), ("new", jnp.zeros(()))],
)
def test_another_tree_is_refused(folder, field, leaf):
    with pytest.raises(UserError, match=f"differs: {field}"):
        _checkpoint.restore(folder, tree() | {field: leaf})


def test_leftovers_of_an_interrupted_save(folder):
    left = folder / "40.orbax-checkpoint-tmp-7"
    left.mkdir()
    (left / "part").write_text("half")
    (folder / "40").mkdir()  # whole for Orbax, but its digest was never written
    (folder / ".40.digest.json.part").write_text("{")
    step, found = _checkpoint.restore(folder, tree())
    assert step == 30
    same(found, tree(30))
    _checkpoint.save(folder, 40, tree(40))
    same(_checkpoint.restore(folder, tree())[1], tree(40))
    assert {path.name.partition(".")[0] for path in folder.iterdir()} == {"30", "40"}


def test_a_damaged_step_is_written_again(folder):
    flip(files(folder, 30)[-1])
    _checkpoint.save(folder, 25, tree(25))
    assert _checkpoint.restore(folder, tree())[0] == 25
    _checkpoint.save(folder, 30, tree(31))
    same(_checkpoint.restore(folder, tree())[1], tree(31))


def test_what_orbax_says_is_one_line(folder, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("a thousand\n" * 1000)

    monkeypatch.setattr(_checkpoint.ocp.CheckpointManager, "restore", fail)
    with pytest.raises(UserError) as caught:
        _checkpoint.restore(folder, tree())
    assert "a thousand" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_does_not_fit_leaves_those_before(tmp_path, monkeypatch):
    tree = {"a": jnp.arange(1000.0)}
    _checkpoint.save(tmp_path, 1, tree)
    before = sorted(path.name for path in tmp_path.iterdir())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4000))
    with pytest.raises(OSError, match="No space left on device"):
        _checkpoint.save(tmp_path, 2, tree)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert _checkpoint.restore(tmp_path, tree)[0] == 1


def test_a_failed_save_waits_for_threads_that_still_write(folder, tmp_path, monkeypatch):
    """Orbax raises the error of one thread while others write to the folder that is removed."""
    seen = []

    class Writer(threading.Thread):
        def run(self):
            time.sleep(0.3)
            seen.append((absl_logging.get_verbosity(), (folder / "30").exists()))

    def save(*args, **kwargs):
        Writer().start()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Writer, "__module__", "orbax.checkpoint")
    monkeypatch.setattr(ocp.CheckpointManager, "save", save)
    before = absl_logging.get_verbosity()
    with pytest.raises(OSError, match="No space left"):
        _checkpoint.save(folder, 40, tree(40))
    assert seen == [(absl_logging.FATAL, True)] and absl_logging.get_verbosity() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keep", "best", "seconds", "took", "steps"),
    [
        (1, False, 0.0, 0.0, [80]),
        (3, False, 0.0, 0.0, [40, 60, 80]),
        (1, True, 3600.0, 0.0, [20, 80]),
        (4, False, 1e-9, 3600.0, [20, 80]),
    ],
    ids=["the last", "the last three", "the best", "not often where it takes long"],
)
def test_which_checkpoints_of_a_run_stay(
    keep, best, seconds, took, steps, tiny, digits, tmp_path, monkeypatch
):
    """Nothing is learnt, so that the first of four networks stays the best."""
    config, begun, save = tiny(name="dense"), time.monotonic, _loop.save_run
    config.optimizer.learning_rate = 1e-30
    config.train.keep, config.train.keep_best, config.train.checkpoint_seconds = keep, best, seconds
    late = []

    def slow(*arguments):
        save(*arguments)
        late.append(took)

    monkeypatch.setattr(_loop, "save_run", slow)
    monkeypatch.setattr(_loop.time, "monotonic", lambda: begun() + sum(late))
    record = train(config, tmp_path / "run", digits)
    assert _checkpoint.steps(tmp_path / "run" / "checkpoints") == steps
    if best:
        assert record["metrics"]["selected_step"] == 20
        load_run(tmp_path / "run", "last", digits, epoch=1)


def test_a_run_is_loaded_where_it_could_not_be_trained(tiny, digits, tmp_path, monkeypatch):
    config = tiny(name="dense")
    config.train.epochs = 1
    train(config, tmp_path, digits)
    monkeypatch.setattr(jax, "device_count", lambda: 7)
    with pytest.raises(UserError, match="train.batch_size"):
        make_plan(config, digits)
    assert load_run(tmp_path, "last", digits).plan.batch_size == config.train.batch_size
