"""A database server."""

import glob
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def postgresql(tmp_path):
    """URL of a server of its own on this machine; it may not run as root."""
    pytest.importorskip("psycopg")
    folders = [os.environ["PATH"], *glob.glob("/usr/lib/postgresql/*/bin")]  # Debian's
    initdb, postgres = (
        shutil.which(name, path=os.pathsep.join(folders)) for name in ("initdb", "postgres")
    )
    if not (initdb and postgres):
        pytest.skip("PostgreSQL is not installed")
    folder, port = pathlib.Path(tempfile.mkdtemp()), free_port()  # tmp_path is closed to others
    other = {"user": "nobody"} if os.geteuid() == 0 else {}
    if other:
        shutil.chown(folder, "nobody")
    quiet = {"check": True, "capture_output": True, "cwd": folder, **other}
    subprocess.run([initdb, "-D", folder / "data", "-U", "me", "-A", "trust"], **quiet)
    listen = ["-h", "127.0.0.1", "-p", str(port), "-k", folder, "-c", "fsync=off"]
    server = subprocess.Popen(
        [postgres, "-D", folder / "data", *listen], stderr=subprocess.PIPE, cwd=folder, **other
    )
    for line in server.stderr:
        if b"ready to accept" in line:
            break
    yield f"postgresql+psycopg://me@127.0.0.1:{port}/postgres"
    server.send_signal(signal.SIGINT)
    server.communicate()
    shutil.rmtree(folder)
