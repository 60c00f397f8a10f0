"""gpnas.data._storage: locks and folders that appear whole."""

import errno
import os
import threading
import time

import pytest

from gpnas.data import _storage
from gpnas.errors import UserError


def test_one_at_a_time(tmp_path):
    inside, most = 0, 0

    def work():
        nonlocal inside, most
        with _storage.locked(tmp_path / "a.lock", field="data.cache_dir"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_the_wait_has_an_end(tmp_path):
    path = tmp_path / "a.lock"
    with (
        _storage.locked(path, field="data.cache_dir"),
        pytest.raises(UserError, match=r"data\.cache_dir.*a\.lock.*another process"),
        _storage.locked(path, field="data.cache_dir", seconds=0.1),
    ):
        pass
    with _storage.locked(path, field="data.cache_dir", seconds=0.1):
        pass


def test_publish_does_not_replace(tmp_path):
    for name in ("a", "b"):
        with _storage.new_folder(tmp_path, field="data.cache_dir") as folder:
            (folder / "content").write_text(name)
            assert _storage.publish(folder, tmp_path / "final") is (name == "a")
    assert (tmp_path / "final/content").read_text() == "a"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp")] == []


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


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "x"), RuntimeError("No space left on device")]
)
def test_a_full_disk_is_no_mistake_of_the_user(tmp_path, error):
    with (
        pytest.raises(OSError, match="No space left on device: '.*cache'") as raised,
        _storage.new_folder(tmp_path / "cache", field="data.cache_dir"),
    ):
        raise error
    assert raised.value.errno == errno.ENOSPC
    assert not list((tmp_path / "cache").iterdir())


def test_a_lock_on_a_full_disk(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="No space"), _storage.locked(tmp_path / "a", field="x"):
        pass
