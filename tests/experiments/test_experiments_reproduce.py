"""The command that reruns the studies and writes their pages."""

import shutil
from pathlib import Path

import pytest

from experiments.studies import study
from gpnas.report import FigureSpec

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_tables_of_the_pages_are_those_of_the_records(tmp_path, monkeypatch):
    for folder in ("docs", "results"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.setattr(
        FigureSpec, "file", lambda spec, kind: b""
    )  # drawing takes most of the time
    for found in study.load().values():
        folders = tmp_path / "results", tmp_path / "docs"
        study.write_pages(found, found.get_config(), *folders)
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert (tmp_path / page.relative_to(ROOT)).read_text() == page.read_text(), page.name


@pytest.mark.exhaustive
def test_the_pages_are_those_of_the_records(python, tmp_path):
    for folder in ("docs", "results"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "README.md", tmp_path)
    for figure in tmp_path.glob("results/*/*.svg"):
        figure.unlink()
    folders = (f"--docs={tmp_path / 'docs'}", f"--results={tmp_path / 'results'}")
    done = python("experiments/reproduce.py", "--norun", *folders)
    assert done.returncode == 0, done.stderr
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        again = tmp_path / page.relative_to(ROOT)
        assert again.read_text() == page.read_text(), page.name
    figures = {path.relative_to(tmp_path) for path in tmp_path.glob("results/*/*.svg")}
    assert len(figures) >= 8 and all((ROOT / path).exists() for path in figures)
    written = {
        Path(line).name for line in done.stdout.splitlines() if line.startswith(str(tmp_path))
    }
    assert written == {
        "README.md", "coupling.md", "deploy.md", "front.md", "many-machines.md", "nas.md",
        "reproducing.md", "units.md",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, error",
    [
        (["sparse DV"], "study or row: got 'sparse DV', allowed: as_published; "),
        (
            ["gradmax", "--budget=paper"],
            "study or row: got 'gradmax', allowed: lenet300; lenet5; tickets\n",
        ),
        (
            ["coupling_wide/dev"],
            "arm of coupling_wide: got 'dev', allowed: GraNet matched; development\n",
        ),
        (["gradmax/dense"], "arm of gradmax: got 'dense', allowed: none: gradmax is no sweep\n"),
        (
            ["coupling_resnet", "--fast"],
            "data of coupling_resnet: got 'no cifar10_jpeg', allowed: that folder in the current",
        ),
        (["gradmax", "--norun", "--docs=nowhere"], "docs: got 'nowhere/units.md', allowed: a page"),
    ],
)
def test_a_mistake_is_one_line(python, arguments, error):
    done = python("experiments/reproduce.py", *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(error)
