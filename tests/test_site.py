"""The documentation site is built without a warning, and a browser needs no network for it."""

import html
import pathlib
import re
import subprocess
import sys

import pytest

import gpnas

ROOT = pathlib.Path(__file__).parents[1]
RESOURCE = re.compile(
    r"""<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=["'](?:https?:)?//[^"']+"""
)


def test_the_workflow_runs_commands_that_exist_and_the_citation_is_of_this_version():
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    called = re.findall(r"run: (.*)", workflow)
    assert called == ["./run.sh setup", "./run.sh test --all", "./run.sh docs"]
    names = (ROOT / "run.sh").read_text().partition("allowed: setup")[2].partition('"')[0]
    assert {"test", "docs"} <= set(re.findall(r"\w+", names))
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {gpnas.__version__}\n" in citation and "\nabstract: " in citation


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_site_is_built_strictly_and_is_whole(tmp_path):
    command = [
        sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", "docs", str(tmp_path),
        # tests/test_examples.py runs the examples, without which no cell has a language.
        "-D", "nb_execution_mode=off", "-D", "suppress_warnings=myst-nb.lexer",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    start = (tmp_path / "index.html").read_text()
    for part in ("front.svg", "Compose masks", "from your own images", "Compare methods"):
        assert part in start
    assert "gpnas.masks.plasticity" in (tmp_path / "api" / "gpnas.masks.html").read_text()
    assert "plasticity" in (tmp_path / "searchindex.js").read_text()
    pages = [path for path in tmp_path.rglob("*.html") if "_modules" not in path.parts]
    assert len(pages) > 90
    ids = {path: set(re.findall(r'\bid="([^"]+)"', path.read_text())) for path in pages}
    for path in pages:
        text = path.read_text()
        assert not RESOURCE.findall(text), path
        for link in re.findall(r'<a [^>]*href="(?!https?:)([^"?]*)"', text):
            name, _, place = html.unescape(link).partition("#")
            target = (path.parent / name).resolve() if name else path
            assert target.exists(), (path, link)
            assert not place or target not in ids or place in ids[target], (path, link)
