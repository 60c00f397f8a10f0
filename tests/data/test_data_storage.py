"""gpnas.data._storage: folders that appear whole."""

import concurrent.futures
import errno
import os
import types

import numpy as np
import pytest

from gpnas import _locks
from gpnas.data import _cache, _storage


def test_publish_does_not_replace(tmp_path):
    for name in ("a", "b"):
        with _storage.new_folder(tmp_path) as folder:
            (folder / "content").write_text(name)
            assert _storage.publish(folder, tmp_path / "final") is (name == "a")
    assert (tmp_path / "final/content").read_text() == "a"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp")] == []


def test_processes_make_folders_side_by_side(tmp_path):
    def make(_):
        with _storage.new_folder(tmp_path / "entries"):
            pass

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert len(list(pool.map(make, range(600)))) == 600
    assert not list((tmp_path / "entries").iterdir())


def test_fingerprint_sees_names_sizes_and_times(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_text("x")
    first = _storage.fingerprint(paths, tmp_path)
    assert first == _storage.fingerprint(reversed(paths), tmp_path)
    paths[0].write_text("xy")
    second = _storage.fingerprint(paths, tmp_path)
    paths[0].rename(tmp_path / "c")
    third = _storage.fingerprint([tmp_path / "c", paths[1]], tmp_path)
    assert len({first, second, third}) == 3


def test_a_full_disk_is_no_mistake_of_the_user(tmp_path):
    with (
        pytest.raises(OSError, match="No space left on device: '.*cache'") as raised,
        _storage.new_folder(tmp_path / "cache"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.errno == errno.ENOSPC
    assert not list((tmp_path / "cache").iterdir())


def test_a_lock_on_a_full_disk(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="No space"), _locks.locked(tmp_path / "a", field="x"):
        pass


def test_arrays_on_a_system_that_cannot_reserve_space(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")  # as on macOS
    array = _storage.new_array(tmp_path, (_storage.IN_MEMORY + 1,), "uint8")
    array[-1] = 7
    assert array[0] == 0 and array[-1] == 7
    inputs = _cache.new_inputs(tmp_path, "train", (3, 2))
    inputs[:] = 1
    inputs.flush()
    assert np.load(tmp_path / "train_inputs.npy").tolist() == [[1, 1]] * 3
    full = types.SimpleNamespace(f_bavail=0, f_frsize=4096)
    monkeypatch.setattr(os, "fstatvfs", lambda handle: full)
    for create in (
        lambda: _storage.new_array(tmp_path, (_storage.IN_MEMORY + 1,), "uint8"),
        lambda: _cache.new_inputs(tmp_path, "test", (3, 2)),
    ):
        with pytest.raises(OSError, match="No space left on device"):
            create()
