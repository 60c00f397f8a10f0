"""The script that collects what a machine without network needs."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "bundle.sh"


@pytest.mark.parametrize("given", ["none", "existing"])
def test_a_mistake_is_one_line_and_nothing_is_written(given, tmp_path):
    arguments = [] if given == "none" else [str(tmp_path)]
    done = subprocess.run([str(SCRIPT), *arguments], capture_output=True, text=True, check=False)
    got = arguments[0] if arguments else "none"
    assert done.returncode == 2
    assert done.stderr == f"bundle.sh: folder: got {got}, allowed: a path that does not exist\n"
    assert not any(tmp_path.iterdir())
