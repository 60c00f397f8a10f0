"""gpnas.data._fetch: servers and tools that work, refuse, hang and trickle, all on this machine."""

import contextlib
import dataclasses
import http.server
import os
import socket
import threading
import time
from pathlib import Path

import pytest
import toysets

from gpnas import data
from gpnas.data import _fetch, _known
from gpnas.errors import UserError


@pytest.fixture
def impatient(monkeypatch):
    """Half a second instead of ten."""
    monkeypatch.setattr(_fetch, "SOURCE_SECONDS", 0.5)


@contextlib.contextmanager
def server(folder: Path, trickle: bool = False):
    """Serves a folder; yields the address. With `trickle`, a byte now and then, for ever."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_):
            pass

        def do_GET(self):
            if not trickle:
                super().do_GET()
                return
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while not over.is_set():
                    self.wfile.write(b"x")
                    time.sleep(0.02)

    over = threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/"
        over.set()
        running.shutdown()
        thread.join()


def tool(home: Path, name: str, script: str) -> None:
    """Puts a shell script into the (otherwise empty) PATH."""
    path = home / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_official(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "there/a").write_bytes(bytes(300_000))
    with server(tmp_path / "there") as address:
        _fetch.official(address, ["a"], tmp_path / "here", _fetch.Patience())
        assert (tmp_path / "here/a").read_bytes() == bytes(300_000)
        with pytest.raises(_fetch.FetchError, match=r"/b: HTTP Error 404"):
            _fetch.official(address, ["a", "b"], tmp_path / "here", _fetch.Patience())


@pytest.mark.slow
def test_a_server_that_trickles(tmp_path, impatient):
    with server(tmp_path, trickle=True) as address:
        start = time.monotonic()
        with pytest.raises(_fetch.FetchError, match="nothing arrived"):
            _fetch.official(address, ["a"], tmp_path, _fetch.Patience())
        assert time.monotonic() - start < 3


@pytest.mark.slow
def test_a_server_that_says_nothing(tmp_path, impatient):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        patience = _fetch.Patience(0.8)
        for _ in range(3):  # the third time, patience is used up
            start = time.monotonic()
            with pytest.raises(_fetch.FetchError, match="nothing arrived"):
                address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
                _fetch.official(address, ["a"], tmp_path, patience)
        assert time.monotonic() - start < 0.3


def test_no_tools(tmp_path):
    with pytest.raises(_fetch.FetchError, match="no apt-get on this machine"):
        _fetch.debian("p", tmp_path, _fetch.Patience())


def test_apt_that_fails(tmp_path, home):
    tool(home, "dpkg", "exit 0")
    tool(home, "apt-get", 'echo "E: Unable to locate package p" >&2; exit 100')
    with pytest.raises(_fetch.FetchError, match="apt-get: E: Unable to locate package p"):
        _fetch.debian("p", tmp_path, _fetch.Patience())
    tool(home, "apt-get", "exit 0")
    with pytest.raises(_fetch.FetchError, match="left 0 packages"):
        _fetch.debian("p", tmp_path, _fetch.Patience())


@pytest.mark.slow
def test_apt_that_hangs_is_ended(tmp_path, home, impatient):
    tool(home, "dpkg", "exit 0")
    tool(home, "apt-get", f"echo $$ > {tmp_path}/pid; while :; do /bin/sleep 0.1; done")
    with pytest.raises(_fetch.FetchError, match="apt-get: nothing arrived"):
        _fetch.debian("p", tmp_path, _fetch.Patience())
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_load_by_debians_package(tmp_path, home, monkeypatch):
    entry = toysets.toy_known(debian_package="p", debian_folder="/no/such")
    monkeypatch.setitem(_known.KNOWN, "mnist", entry)
    toysets.write_idx(tmp_path / "package")
    tool(home, "apt-get", "echo > p_1_all.deb")
    tool(home, "dpkg", f"/bin/mkdir -p root/no && /bin/cp -r {tmp_path}/package root/no/such")
    ds = data.load("mnist")
    assert ds.input_shape == (6, 5, 1)


@pytest.mark.slow
def test_load_by_the_official_address_after_a_bad_package(tmp_path, home, monkeypatch, caplog):
    toysets.write_idx(tmp_path / "bad", seed=9)
    toysets.write_idx(tmp_path / "good")
    tool(home, "apt-get", "echo > p_1_all.deb")
    tool(home, "dpkg", f"/bin/mkdir -p root/no && /bin/cp -r {tmp_path}/bad root/no/such")
    entry = toysets.toy_known(debian_package="p", debian_folder="/no/such")
    with server(tmp_path / "good") as address:
        entry = dataclasses.replace(entry, address=address)
        monkeypatch.setitem(_known.KNOWN, "mnist", entry)
        assert data.load("mnist").input_shape == (6, 5, 1)
    assert "Debian: data.raw_dir" in caplog.text


def test_wrong_files_from_the_official_address(tmp_path, monkeypatch):
    toysets.write_idx(tmp_path / "bad", seed=9)
    with server(tmp_path / "bad") as address:
        entry = dataclasses.replace(toysets.toy_known(), address=address)
        monkeypatch.setitem(_known.KNOWN, "mnist", entry)
        with pytest.raises(UserError, match="the official address: .*train_images.*sha256"):
            data.load("mnist")
