"""run.sh works in the caller's folder and chooses the newest interpreter. Nothing is installed."""

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
ECHO = '#!/bin/sh\necho "$PWD" "$@"\n'


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def call(tmp_path):
    """`(*arguments, **environment) → finished process`, in an empty folder of the caller."""
    (tmp_path / "here").mkdir()

    def run(*arguments, **environment):
        return subprocess.run(
            [ROOT / "run.sh", *arguments],
            cwd=tmp_path / "here",
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def venv(tmp_path):
    """An environment that counts as installed, whose interpreter prints what it is asked to do."""
    executable(tmp_path / "venv" / "bin" / "python", ECHO)
    files = b"".join((ROOT / name).read_bytes() for name in ("requirements.txt", "pyproject.toml"))
    stamp = subprocess.run(["cksum"], input=files, capture_output=True, check=True).stdout
    (tmp_path / "venv" / "installed").write_bytes(stamp)
    return str(tmp_path / "venv")


def test_commands_run_in_the_folder_of_the_caller(call, venv, tmp_path):
    done = call("train", "--config=rigl", "--workdir=runs/mine", GPNAS_VENV=venv)
    assert done.stdout.strip() == (
        f"{tmp_path}/here -P -m gpnas train --config=rigl --workdir=runs/mine"
    )


def test_an_environment_is_relative_to_the_caller_and_nothing_else_is_cleared(call, tmp_path):
    (tmp_path / "here" / "mine").mkdir()
    (tmp_path / "here" / "mine" / "letter.txt").write_text("dear")
    done = call("setup", GPNAS_VENV="mine")
    assert done.returncode == 2 and "GPNAS_VENV: got" in done.stderr
    assert (tmp_path / "here" / "mine" / "letter.txt").read_text() == "dear"


def test_the_newest_interpreter_that_works_is_chosen(call, tmp_path):
    """3.13 is an interpreter that cannot start, as a shim is; 3.12 lacks venv; 3.11 makes one."""
    executable(tmp_path / "bin" / "python3.13", "#!/bin/sh\nexit 127\n")
    executable(tmp_path / "bin" / "python3.12", '#!/bin/sh\ncase "$*" in *venv*) exit 1;; esac\n')
    executable(tmp_path / "bin" / "python3.11", '#!/bin/sh\n[ "$1" = -c ] || echo made "$@"\n')
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    done = call("setup", GPNAS_VENV="new", PATH=path)
    assert f"made -m venv --clear {tmp_path}/here/new" in done.stdout
    executable(tmp_path / "bin" / "python3.13", '#!/bin/sh\n[ "$1" = -c ] || echo newest "$@"\n')
    assert "newest -m venv" in call("setup", GPNAS_VENV="new", PATH=path).stdout


def test_an_interpreter_that_is_named_and_does_not_serve_is_an_error(call):
    done = call("setup", GPNAS_VENV="new", PYTHON="/bin/false")
    assert done.returncode == 2 and "PYTHON: got /bin/false" in done.stderr


def test_an_unknown_command_is_one_line(call):
    done = call("tarin")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "got tarin" in done.stderr
