"""The script that collects what a machine without network needs."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "bundle.sh"


@pytest.mark.parametrize("arguments", [[], [""], ["."], ["--help"], ["a folder"]])
def test_a_mistake_is_one_line_and_nothing_is_written(arguments, tmp_path):
    command = [str(SCRIPT), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    got = "".join(arguments) or "none"
    allowed = "a path without spaces that does not exist"
    assert done.returncode == 2
    assert done.stderr == f"bundle.sh: folder: got {got}, allowed: {allowed}\n"
    assert not any(tmp_path.iterdir())
