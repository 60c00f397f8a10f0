"""The code of docs/deploy.md runs."""

import pathlib
import re
import runpy

import pytest

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "deploy.md"


@pytest.mark.slow
def test_the_example_runs(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "page.py").write_text(code)
    names = runpy.run_path("page.py")
    assert names["small"].architecture["fields"]["widths"] == [4, 8, 16]
