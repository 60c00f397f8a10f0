"""The command line, as a user calls it."""

import subprocess
import sys
from pathlib import Path

import pytest

from gpnas import report
from gpnas.errors import UserError

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def call(python, tmp_path):
    """`(*flags) → finished process` of experiments/report.py, in `tmp_path`."""
    return lambda *flags: python(_ROOT / "experiments" / "report.py", *flags, cwd=tmp_path)


@pytest.mark.slow
def test_end_to_end(call, study, tmp_path):
    done = call(f"--inputs={study}", "--output=page.html", "--title=Mine", "--figures_dir=figures")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "page.html"
    assert lines[0].split()[:2] == ["arm", "seeds"]
    assert "<h1>Mine</h1>" in (tmp_path / "page.html").read_text()
    files = {path.name for path in (tmp_path / "figures").iterdir()}
    for name in ("error_by_arm", "density", "growth_pruning", "density_layers", "receptive"):
        assert {f"{name}.svg", f"{name}.png"} <= files
    assert (tmp_path / "figures" / "table.md").read_text().splitlines()[1][:7] == "| arm |"
    assert not any(name.startswith(".") for name in files)
    for path in (tmp_path / "figures").glob("*.svg"):
        assert "https://matplotlib" not in path.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing_here"],
        ["--inputs=STUDY", "--output=missing/page.html"],
        ["--inputs=STUDY", "--output=."],
        ["--inputs=STUDY", "--nonsense=1"],
    ],
)
def test_mistakes_are_one_line_and_write_nothing(call, study, tmp_path, arguments):
    done = call(*(a.replace("STUDY", str(study)) for a in arguments))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_file_of_others_is_kept_and_a_page_is_replaced(call, study, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("mine")
    done = call(f"--inputs={study}", f"--output={page}")
    assert done.returncode == 2 and done.stderr.startswith("output: got ")
    assert page.read_text() == "mine"
    page.unlink()
    assert [call(f"--inputs={study}", f"--output={page}").returncode for _ in range(2)] == [0, 0]


@pytest.mark.slow
def test_it_needs_no_jax(tmp_path):
    code = "import sys, gpnas.report; sys.exit('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, check=False)
    assert done.returncode == 0


@pytest.mark.slow
def test_figures_dir_mistakes_write_nothing(make, tmp_path):
    path = make.records(tmp_path / "s" / "records.jsonl", [make.record()])
    loaded = report.read_runs([path])
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "a" / "b"):
        with pytest.raises(UserError, match="figures_dir"):
            report.write(loaded, tmp_path / "page.html", figures_dir=folder)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.slow
def test_figures_and_tables_of_others_are_kept(make, tmp_path):
    path = make.records(tmp_path / "s" / "records.jsonl", [make.record()])
    loaded, folder = report.read_runs([path]), tmp_path / "figures"
    folder.mkdir()
    for name in ("table.md", "density.svg"):
        (folder / name).write_text("mine")
        with pytest.raises(UserError, match=f"^figures_dir: got .*a folder without {name}, or"):
            report.write(loaded, tmp_path / "page.html", figures_dir=folder)
        assert [(p.name, p.read_text()) for p in folder.iterdir()] == [(name, "mine")]
        (folder / name).unlink()
    for _ in range(2):
        report.write(loaded, tmp_path / "page.html", figures_dir=folder)


@pytest.mark.slow
def test_figures_are_byte_stable(make, tmp_path):
    path = make.records(tmp_path / "s" / "records.jsonl", [make.record("gmp", s) for s in (0, 1)])
    for name in ("a", "b"):
        report.write(
            report.read_runs([path]), tmp_path / f"{name}.html", figures_dir=tmp_path / name
        )
    first = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    assert first == {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()}
    assert len(first) > 6


def test_a_full_disk_leaves_the_page_that_was_there(make, tmp_path, no_room):
    path = make.records(tmp_path / "s" / "records.jsonl", [make.record()])
    before = '<meta name="generator" content="gpnas.report">before'
    (tmp_path / "page.html").write_text(before)
    with no_room(1000), pytest.raises(OSError, match=r"File too large: '.*page\.html'"):
        report.write(report.read_runs([path]), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == before
    assert {p.name for p in tmp_path.iterdir()} == {"s", "page.html"}
