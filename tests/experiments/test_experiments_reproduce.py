"""The command that reruns the studies and writes their pages."""

import shutil
from pathlib import Path

import pytest

from experiments.studies import study
from gpnas.records import read_lines
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


TINY = """
import runpy
from configs import dense
from experiments.studies import study
from experiments.studies.papers import Bar, paper_table
from gpnas.train import study as arms_of

def get_config():
    arms = {"short": dense.get_config(), "known": dense.get_config()}
    for arm in arms.values():
        arm.data.name, arm.model.widths = "digits", (8,)
        arm.train.update(epochs=1, batch_size=256, tensorboard=False)
    return arms_of("tiny", arms, densities=(), seeds=(0,))

def sections(results, config):
    bars = [Bar(arm, epochs=2) for arm in config.arms]
    return {"tiny": study.Section([paper_table("Tiny", bars, study.records(results, config))])}

tiny = study.Study(get_config, study.sweep, sections, "page.md", ("short", "known"),
                   paper_epochs={"short": 2, "known": 1})
study.load = lambda: {"tiny": tiny}
runpy.run_path("experiments/reproduce.py", run_name="__main__")
"""


@pytest.mark.slow
def test_papers_budgets_have_records_and_sections_of_their_own(python, tmp_path):
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "page.md"
    empty = [f"<!-- begin {name} -->\n<!-- end {name} -->\n" for name in ("tiny", "tiny paper")]
    page.write_text("".join(empty))
    folders = [f"--{name}={tmp_path / name}" for name in ("docs", "results", "workdir")]

    def own_and_papers(*arguments):
        done = python("-c", TINY, *folders, *arguments)
        assert done.returncode == 0, done.stderr
        own, _, papers = page.read_text().partition("<!-- begin tiny paper -->")
        return own, papers

    own, papers = own_and_papers("--norun")
    assert "| short |" in own and papers == "\n<!-- end tiny paper -->\n"
    same, papers = own_and_papers("--budget=paper")
    assert same == own and "**Tiny, with the papers' epochs**" in papers
    (row,) = (line for line in papers.splitlines() if line.startswith(("| short", "| known")))
    assert "| 5 | 2 (2) |" in row
    assert len(read_lines(tmp_path / "results/paper/tiny/records.jsonl")) == 5
    assert not (tmp_path / "results/tiny/records.jsonl").exists()
    assert len([*(tmp_path / "workdir/paper/tiny").iterdir()]) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, error",
    [
        (["sparse DV"], "study or row: got 'sparse DV', allowed: as_published; "),
        (
            ["gradmax", "--budget=paper"],
            "study or row: got 'gradmax', allowed: as_published; curves; lenet5; tickets; LeNet-5 ",
        ),
        (
            ["LeNet-5 L0", "L0", "--budget=paper"],
            "study or row: got 'LeNet-5 L0, L0', allowed: as_published; curves; lenet5; tickets; ",
        ),
        (
            ["fashion", "tickets", "--fast"],
            "study or row: got 'fashion, tickets', allowed: with --fast, as_published; ",
        ),
        (["lenet5", "--budget=paper", "--fast"], "budget: got 'paper', allowed: own, with --fast"),
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
