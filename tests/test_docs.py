"""Public names are documented; examples in docstrings and in the documents run."""

import ast
import doctest
import importlib
import importlib.util
import pathlib
import re
import subprocess

import jax
import pytest
import yaml
from ml_collections import ConfigDict

from gpnas import methods, models, train

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
spec = importlib.util.spec_from_file_location("_api", ROOT / "docs" / "_api.py")
api = importlib.util.module_from_spec(spec)
spec.loader.exec_module(api)
SIGNATURES = "→"  # a block with arrows lists types and is not Python


def blocks(path):
    """Python blocks of a page."""
    found = re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in found if SIGNATURES not in block]


def installed(block):
    """Whether the packages that a block needs and the tests do not are installed."""
    optional = (name for name in ("equinox", "qwix") if f"import {name}" in block)
    return all(importlib.util.find_spec(name) for name in optional)


BLOCKS = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in PAGES
    for number, block in enumerate(blocks(path))
]


def test_every_public_name_has_a_docstring(monkeypatch):
    """Of each `__all__` and of the namespaces in it; constants have a comment `#:`."""
    assert not api.undocumented()
    assert "gpnas.masks.score.magnitude" in {
        f"{m}.{n}" for m, d in api.reference().items() for n in d
    }
    monkeypatch.setattr(methods.Method, "__doc__", None)
    monkeypatch.setattr(models, "KINDS", (), raising=False)
    monkeypatch.setattr(models, "__all__", [*models.__all__, "KINDS"])
    assert api.undocumented() == ["gpnas.methods.Method", "gpnas.models.KINDS"]


@pytest.mark.slow
@pytest.mark.parametrize("package", ["masks", "units", "search"])
def test_examples_in_docstrings_give_what_they_say(package):
    found = doctest.testmod(importlib.import_module(f"gpnas.{package}"))
    assert found.attempted > 3 and not found.failed


@pytest.mark.parametrize("block", BLOCKS)
def test_what_a_block_imports_exists(block):
    if not installed(block):
        pytest.skip("needs a package that is not installed")
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    assert importlib.import_module(f"{node.module}.{alias.name}")


@pytest.mark.slow
@pytest.mark.parametrize("page", ["coming-from", "deploy", "search", "methods"])
def test_the_blocks_of_a_page_run_as_written(page, tmp_path, monkeypatch):
    """From top to bottom, in one namespace; blocks assert what they claim.

    tests/units/test_units_docs.py has those of docs/units.md.
    """
    monkeypatch.chdir(tmp_path)
    names, assertions = {}, 0
    for number, block in enumerate(blocks(ROOT / "docs" / f"{page}.md")):
        if not installed(block):
            continue
        exec(compile(block, f"{page}-{number}", "exec"), names)
        assertions += "assert " in block
    assert names and (assertions or page == "search")


def test_the_example_of_a_method_is_built_from_its_config(tmp_path, monkeypatch):
    method, config, *_ = blocks(ROOT / "docs" / "adding-a-method.md")
    for block in (method, config):
        name = re.match(r"# (\w+\.py)\n", block)[1]
        (tmp_path / name).write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    found = importlib.import_module("my_config").get_config()
    assert found.method.name == "my_method:mine"
    example = importlib.import_module("my_method").mine(
        density=found.method.density, total_steps=1000, every=100
    )
    assert isinstance(example, methods.Method)


@pytest.mark.slow
def test_what_is_ones_own_runs_as_written(tmp_path, monkeypatch, digits):
    pytest.importorskip("equinox")
    for block in blocks(ROOT / "docs" / "own.md"):
        name = re.match(r"# (\w+\.py)\n", block)
        (tmp_path / (name[1] if name else "snippet.py")).write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    found = importlib.import_module("snippet")
    assert found.logits.shape == (8, 10) and found.a.infer(
        found.a.init(jax.random.key(0), found.x), found.x
    ).shape == (8, 10)
    config = train.base(name="rigl", density=0.2, every=5)
    config.data.name, config.task = "digits", {"name": "my_task:focal", "gamma": 1.5}
    config.optimizer.update(name="my_optimizer:nadam", schedule="my_optimizer:sqrt")
    config.optimizer.arguments = ConfigDict({"b1": 0.8})
    plan = train.make_plan(config, digits)
    assert plan.task.metric.unit == "%" and plan.metrics == ("loss", "error")
    net = models.find_network("model.name", "my_nnx:Net")
    images = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    shapes = jax.eval_shape(net[1](net[0], num_classes=3).init, jax.random.key(0), images)
    assert shapes["params"]["last"]["kernel"].shape == (64, 3)


@pytest.mark.parametrize("name", ["docs/clusters/*.sbatch", "experiments/*.sh", "run.sh"])
def test_shell_scripts_are_bash(name):
    found = sorted(ROOT.glob(name))
    assert found
    for path in found:
        subprocess.run(["bash", "-n", path], check=True)
        assert path.read_text().startswith(("#!/bin/bash\n", "#!/usr/bin/env bash\n"))


@pytest.mark.parametrize("name", ["train", "workers"])
def test_jobs_of_kubernetes_have_the_fields_that_they_need(name):
    text = (ROOT / "docs" / "clusters" / f"{name}.yaml").read_text()
    [job] = [one for one in yaml.safe_load_all(text) if one["kind"] == "Job"]
    assert job["apiVersion"] == "batch/v1" and job["metadata"]["name"]
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"] > 1
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy takes no other
    [container] = pod["containers"]
    assert container["image"] and container["command"]
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert mounted == {one["name"] for one in pod["volumes"]}
    assert pod["terminationGracePeriodSeconds"] == 120  # to save, after SIGTERM
    rules, ignored = spec["podFailurePolicy"]["rules"], []
    for rule in rules:
        if codes := rule.get("onExitCodes"):
            assert codes["operator"] == "In" and codes["values"] == sorted(codes["values"])
            assert codes.get("containerName", container["name"]) == container["name"]
        if rule["action"] == "Ignore":  # not a failure: the same command resumes
            ignored.append(codes["values"] if codes else rule["onPodConditions"])
    assert ignored == [[75], [{"type": "DisruptionTarget"}]]
