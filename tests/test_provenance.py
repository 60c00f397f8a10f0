"""The revision in records is read without writing to the user's repository."""

import os
import subprocess

import pytest

import gpnas
from gpnas.provenance import provenance


@pytest.mark.slow
def test_the_index_of_the_repository_is_not_written(tmp_path, monkeypatch):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    files = [tmp_path / name / "__init__.py" for name in ("gpnas", "configs", "experiments")]
    for file in files:
        file.parent.mkdir()
        file.write_text("")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=one")
    monkeypatch.setattr(gpnas, "__file__", str(files[0]))
    os.utime(files[0], (0, 0))  # a status that may write refreshes the index now
    index = tmp_path / ".git" / "index"
    before = index.read_bytes()
    assert provenance()["git"] == git("rev-parse", "HEAD")
    assert index.read_bytes() == before
    files[1].write_text("changed")
    assert provenance()["git"].endswith("+")
