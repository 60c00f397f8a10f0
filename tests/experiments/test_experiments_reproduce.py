"""The command that reruns rows and writes the page."""

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reproducing.md"


def test_the_page_is_that_of_the_records(python):
    before = PAGE.read_text()
    done = python("experiments/reproduce.py", "--page")
    assert done.returncode == 0, done.stderr
    assert PAGE.read_text() == before
    assert done.stdout.splitlines()[-1].endswith("docs/reproducing.md")


def test_a_row_that_does_not_exist(python):
    done = python("experiments/reproduce.py", "sparse DV")
    assert done.returncode == 2
    assert done.stderr.startswith("row: got 'sparse DV', allowed: dense; sparse VD;")
    assert done.stderr.count("\n") == 1
