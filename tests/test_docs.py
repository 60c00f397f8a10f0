"""Python blocks of the documents: imports exist, and the example of a method runs."""

import ast
import importlib
import pathlib
import re

import pytest

from gpnas import methods

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SIGNATURES = "→"  # a block with arrows lists types and is not Python


def blocks(path):
    """Python blocks of a page."""
    found = re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in found if SIGNATURES not in block]


BLOCKS = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in PAGES
    for number, block in enumerate(blocks(path))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_what_a_block_imports_exists(block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    assert importlib.import_module(f"{node.module}.{alias.name}")


def test_the_example_of_a_method_is_built_from_its_config(tmp_path, monkeypatch):
    method, config, *_ = blocks(ROOT / "docs" / "adding-a-method.md")
    for block in (method, config):
        name = re.match(r"# (\w+\.py)\n", block)[1]
        (tmp_path / name).write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    found = importlib.import_module("mine_config").get_config()
    assert found.method.name == "mine:mine"
    example = importlib.import_module("mine").mine(density=found.method.density, total_steps=1000)
    assert isinstance(example, methods.Method)
