"""The packages of gpnas are those that its documents list, and imports run one way between them."""

import ast
import importlib
import inspect
import pathlib
import re

import pytest

import gpnas

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = sorted(p.parent.name for p in (ROOT / "gpnas").glob("*/__init__.py"))
# Packages whose public names are those of `__all__`, for all code outside of them.
FACES = ("gates", "masks", "methods", "report", "sensitivity")
OWN_TESTS_EXEMPT = ("report",)  # these packages' tests import private modules


def imports(package):
    """Packages of gpnas that a package imports."""
    found = set()
    for path in (ROOT / "gpnas" / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{name.name}" for name in node.names]
            found |= {name.split(".")[1] for name in names if name.startswith("gpnas.")}
    return found & set(PACKAGES) - {package}


def test_the_lists_of_packages_are_complete():
    assert sorted(re.findall(r"\* `gpnas\.(\w+)`", gpnas.__doc__)) == PACKAGES
    listed = re.findall(r"^gpnas/(\w+) ", (ROOT / "docs" / "design.md").read_text(), re.MULTILINE)
    assert sorted(listed) == PACKAGES


def test_packages_import_only_what_is_listed_before_them():
    order = re.findall(r"\* `gpnas\.(\w+)`", gpnas.__doc__)
    for package in PACKAGES:
        later = imports(package) - set(order[: order.index(package)])
        assert not later, f"gpnas.{package} imports {later}"
    assert imports("report") == imports("masks") == set()
    assert {"masks", "units", "methods"} <= imports("train")


def deep_imports(package, path):
    """Imports in a file that bypass the public face of a package."""
    face = importlib.import_module(f"gpnas.{package}")
    nodes = list(ast.walk(ast.parse(path.read_text())))
    aliases = {f"gpnas.{package}"}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "gpnas":
            aliases |= {n.asname or n.name for n in node.names if n.name == package}
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            names = [f"gpnas.{package}.{node.attr}"] if owner in aliases else []
        else:
            continue
        for name in names:
            head, _, rest = name.partition(f"gpnas.{package}.")
            parts = rest.split(".")
            if not head and rest and (parts[0] not in face.__all__ or "._" in name):
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {name}"


@pytest.mark.parametrize("package", FACES)
def test_other_code_uses_the_public_face_of_a_package(package):
    own = [ROOT / "gpnas" / package]
    own += [ROOT / "tests" / package] if package in OWN_TESTS_EXEMPT else []
    folders = ("gpnas", "experiments", "configs", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    files = [path for path in files if not set(own) & set(path.parents)]
    assert len(files) > 100
    assert [deep for path in files for deep in deep_imports(package, path)] == []


@pytest.mark.parametrize("package", FACES)
def test_modules_of_a_package_are_public_namespaces_or_private(package):
    face = importlib.import_module(f"gpnas.{package}")
    assert sorted(face.__all__) == sorted(set(face.__all__))
    for path in (ROOT / "gpnas" / package).glob("[!_]*.py"):
        assert inspect.ismodule(getattr(face, path.stem)) and path.stem in face.__all__, path


def test_every_dependency_has_its_reason_and_is_imported_somewhere():
    """Chex serves the tests; `importlib_resources` is imported by tensorflow-datasets alone."""
    text = (ROOT / "pyproject.toml").read_text()
    required = re.search(r"\ndependencies = \[(.*?)\]\n", text, re.DOTALL)[1]
    names = re.findall(r'"([\w-]+)[>=]', required)
    reasons = (ROOT / "docs" / "design.md").read_text().partition("## Dependencies")[2]
    files = [p for folder in ("gpnas", "tests") for p in (ROOT / folder).rglob("*.py")]
    code = "\n".join(path.read_text() for path in files)
    modules = {"absl-py": "absl", "pillow": "PIL", "scikit-learn": "sklearn"}
    modules |= {"orbax-checkpoint": "orbax.checkpoint"}
    assert len(names) > 20
    for name in names:
        assert re.search(rf"\b{name}\b", reasons), name
        module = modules.get(name, name.replace("-", "_"))
        used = re.search(rf"^\s*(import|from) {module}\b", code, re.MULTILINE)
        assert used or name == "importlib_resources", name
