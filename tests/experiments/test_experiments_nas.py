"""The command that writes the study of searches."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
STUDIES = ("searches_201", "early_stopping", "proxies", "lemonade", "sharing")


def test_the_page_is_that_of_the_records(python, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").mkdir()
    for path in ("docs/nas.md", "results/benchmark.jsonl"):
        shutil.copy(ROOT / path, tmp_path / path)
    for study in STUDIES:
        (tmp_path / "results" / study).mkdir()
        shutil.copy(ROOT / "results" / study / "records.jsonl", tmp_path / "results" / study)
    done = python("experiments/nas.py", "--page", f"--folder={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "docs/nas.md").read_text() == (ROOT / "docs/nas.md").read_text()
    pictures = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.svg")}
    assert {path.parent.name for path in pictures} == set(STUDIES)
    assert all((ROOT / path).exists() for path in pictures)


def test_a_folder_without_the_page(python, tmp_path):
    done = python("experiments/nas.py", "--page", f"--folder={tmp_path}")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("folder: got")
