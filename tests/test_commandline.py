"""What ends a program: one line on stderr and a code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WARNS = """
from absl import logging
from gpnas.commandline import start

def main(argv):
    logging.info("not shown")
    logging.warning("few mask updates")
start(main)
"""
PRINTS = """
from gpnas.commandline import start
start(lambda argv: print("text"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("train --help", 0, ""),
        ("train --config=rigl", 2, "workdir: got None, allowed: folder for all output of the run"),
        ("train --config.seed=1", 2, "config: got None, allowed: a config; config.seed is a field"),
        ("predict", 2, "images: got None, allowed: image files, or folders of them"),
        (
            "train --workdir=x --config=dense --config.data.name=digits"
            " --config.model.widths=(0,5)",
            2,
            "model.widths: got (0, 5), allowed: whole numbers from 1",
        ),
    ],
)
def test_help_and_flags_that_are_missing(python, tmp_path, command, code, said):
    done = python("-m", "gpnas", *command.split(), cwd=tmp_path)
    assert done.returncode == code and done.stderr.startswith(said), done.stderr
    assert done.stderr.count("\n") == bool(said) and bool(done.stdout) == (code == 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_warnings_are_plain_lines(python):
    assert python("-c", WARNS).stderr == "WARNING: few mask updates\n"
    verbose = python("-c", WARNS, "--verbosity=0").stderr.splitlines()
    assert len(verbose) == 2 and verbose[0].endswith("] not shown")  # with time and line of code


@pytest.mark.slow
@pytest.mark.parametrize("code, said", [(74, "a file: No space left on device; "), (141, "")])
def test_output_that_cannot_be_written(code, said):
    end, start = os.pipe()
    os.close(end)
    with open("/dev/full" if code == 74 else start, "w") as output:
        done = subprocess.run(
            [sys.executable, "-c", PRINTS],
            cwd=Path(__file__).parents[1],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(said) and done.stderr.count("\n") == bool(said)
