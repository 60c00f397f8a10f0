"""gpnas._locks: one process at a time."""

import errno
import fcntl
import threading
import time

import pytest

from gpnas import _locks
from gpnas.errors import UserError


def test_one_at_a_time(tmp_path):
    inside, most = 0, 0

    def work():
        nonlocal inside, most
        with _locks.locked(tmp_path / "a.lock", field="data.cache_dir"):
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
        _locks.locked(path, field="data.cache_dir"),
        pytest.raises(UserError, match=r"data\.cache_dir.*a\.lock.*another process"),
        _locks.locked(path, field="data.cache_dir", seconds=0.1),
    ):
        pass
    with _locks.locked(path, field="data.cache_dir", seconds=0.1):
        pass


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    entered = False
    with _locks.locked(tmp_path / "a.lock", field="data.cache_dir"):
        entered = True
    assert entered
    with (
        pytest.raises(UserError, match="workdir.*file system with locks"),
        _locks.locked(tmp_path / "a.lock", field="workdir", required=True),
    ):
        pass
