"""The package outside of the repository: the command, configs by name, imports, a wheel."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpnas import __main__ as command
from gpnas import _shipped, errors, provenance
from gpnas.errors import UserError

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"


def python(code, cwd):
    """A program in an interpreter of its own, with this checkout on its path."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=True)


def test_a_config_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("rigl", "rigl.py", "configs/rigl", "configs/rigl.py"):
        assert _shipped.find_config(name) == str(CONFIGS / "rigl.py")
    assert _shipped.find_config("dense:5") == f"{CONFIGS / 'dense.py'}:5"
    study = "experiments/studies/fashion/config.py"
    assert _shipped.find_config(study) == str(ROOT / study)
    (tmp_path / "rigl").mkdir()  # a folder is no config
    assert _shipped.find_config("rigl") == str(CONFIGS / "rigl.py")
    (tmp_path / "rigl.py").touch()
    assert _shipped.find_config("rigl") == "rigl.py"
    with pytest.raises(UserError, match="config: got 'rigel', allowed: .*searches/lemonade"):
        _shipped.find_config("rigel")
    found = {str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.py")}
    assert {f"{name}.py" for name in _shipped.config_names()} == found


def test_the_command_lists_what_there_is(monkeypatch, capsys):
    for _, (module, _, _) in command.COMMANDS.items():
        assert (ROOT / "experiments" / f"{module}.py").is_file()
    monkeypatch.setattr(sys, "argv", ["gpnas"])
    command.main()
    assert "gpnas worker  --storage=" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["gpnas", "tarin"])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert capsys.readouterr().err.startswith("command: got 'tarin', allowed: train, front")


def test_a_package_of_an_extra_that_is_missing_is_one_line(monkeypatch):
    monkeypatch.setattr(
        errors.metadata,
        "requires",
        lambda name: ["jax>=1", "importlib_resources>=6; extra == 'data'"],
    )
    error = errors.not_installed(ModuleNotFoundError("", name="importlib_resources.abc"))
    assert str(error).endswith("-m pip install 'gpnas[data]'")
    with pytest.raises(ModuleNotFoundError):
        errors.not_installed(ModuleNotFoundError("", name="jax"))


def test_a_package_that_lies_in_another_repository_has_no_revision(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "gpnas").mkdir()
    (tmp_path / "gpnas" / "__init__.py").touch()
    monkeypatch.setattr(provenance.gpnas, "__file__", str(tmp_path / "gpnas" / "__init__.py"))
    assert provenance._git_revision() is None


def test_provenance_without_affinity_counts_all_cores(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert provenance.provenance()["machine"]["cores"] == os.cpu_count()


HEAVY = (
    "import sys; print(sorted({'matplotlib', 'jinja2', 'optuna', 'sqlalchemy', 'sklearn', 'PIL',"
    " 'tensorflow_datasets', 'pyarrow', 'array_record', 'moocore'} & set(sys.modules)))"
)


@pytest.mark.slow
def test_training_imports_no_plots_no_databases_and_no_data_sets(tmp_path):
    assert python(f"import gpnas.train, gpnas.methods; {HEAVY}", tmp_path).stdout.strip() == "[]"
    light = "import gpnas, sys; print([m for m in ('jax', 'numpy') if m in sys.modules])"
    assert python(light, tmp_path).stdout.strip() == "[]"


@pytest.mark.slow
def test_a_wheel_trains_in_an_empty_folder():
    """Over the packages of this interpreter, without network."""
    env = os.environ | {"REUSE": "1", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    call = [ROOT / ".ci" / "wheel", sys.executable]
    done = subprocess.run(call, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "rigl: test error" in done.stdout and "installed and trained" in done.stdout
