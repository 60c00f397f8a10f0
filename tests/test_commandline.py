"""What ends a program: one line on stderr and a code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PRINTS = """
from gpnas.commandline import start
start(lambda argv: print("text"))
"""


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
