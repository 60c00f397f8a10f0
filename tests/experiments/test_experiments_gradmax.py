"""The command that lets students grow."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = ("experiments/gradmax.py", "--config=configs/studies/gradmax.py", "--page")


def test_the_page_is_that_of_the_records(python, tmp_path):
    shutil.copytree(ROOT / "results" / "gradmax", tmp_path / "results" / "gradmax")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "units.md", tmp_path / "docs")
    (tmp_path / "results" / "gradmax" / "gradmax.svg").unlink()
    done = python(*COMMAND, f"--folder={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "docs/units.md").read_text() == (ROOT / "docs/units.md").read_text()
    assert (tmp_path / "results/gradmax/gradmax.svg").exists()


def test_records_that_are_not_there(python, tmp_path):
    done = python(*COMMAND, f"--folder={tmp_path}")
    assert done.returncode == 2 and done.stderr.startswith("folder: got")
    done = python(*COMMAND, "--config.samples=7")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("page: got")
