"""The packages of gpnas are those that its documents list, and imports run one way between them."""

import ast
import functools
import importlib
import inspect
import pathlib
import pkgutil
import re
import tomllib

import pytest

import gpnas

ROOT = pathlib.Path(__file__).parents[1]
FACES = (
    "data", "deploy", "gates", "masks", "methods", "models", "report", "search",
    "search.morphable", "search.strategies",
    "sensitivity", "train",
    "units", "units.cost", "units.graph",
)  # fmt: skip
FACES_IN_OWN_TESTS = ("gates", "masks", "methods", "sensitivity")
FACE_FILES = (ROOT / "gpnas").glob("*/__init__.py")
PACKAGES = sorted(p.parent.name for p in FACE_FILES if not p.parent.is_symlink())


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


@pytest.mark.slow
def test_packages_import_only_what_is_listed_before_them():
    order = re.findall(r"\* `gpnas\.(\w+)`", gpnas.__doc__)
    for package in PACKAGES:
        later = imports(package) - set(order[: order.index(package)])
        assert not later, f"gpnas.{package} imports {later}"
    assert imports("report") == imports("masks") == set()
    assert {"masks", "units", "methods"} <= imports("train")


@functools.cache
def imported(path):
    """(module, names) of each import of a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((str(node.module), [alias.name for alias in node.names]))
    return found


def outside(face):
    """(file, module, names) of a package's imports by other files (for some, its own tests too)."""
    package = ROOT / "gpnas" / face.replace(".", "/")
    folders = (ROOT / name for name in ("gpnas", "experiments", "configs", "docs", "tests"))
    files = {path for folder in folders for path in folder.rglob("*.py")}
    for path in sorted(files - {ROOT / "tests" / "conftest.py"}):  # which watches training
        own_test = ROOT / "tests" / face.split(".")[0] in path.parents
        if package in path.parents or (own_test and face not in FACES_IN_OWN_TESTS):
            continue
        for module, names in imported(path):
            if module == f"gpnas.{face}" or module.startswith(f"gpnas.{face}."):
                yield path, module, names


@pytest.mark.slow
@pytest.mark.parametrize("face", FACES)
def test_a_package_has_one_public_face(face):
    """Modules are private or namespaces in `__all__`; others import from it and from those."""
    package = importlib.import_module(f"gpnas.{face}")
    public = package.__all__
    assert len(set(public)) == len(public)
    modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    inner = [name.rpartition(".")[2] for name in FACES if name.startswith(f"{face}.")]
    for name in modules:
        assert name.startswith("_") or name in public or name in inner, name
    for name in public:
        assert hasattr(package, name) or name in modules, name
    for path, module, names in outside(face):
        inside = module.removeprefix(f"gpnas.{face}").removeprefix(".")
        assert not inside or inside in public, f"{path} imports {module}"
        known = set(public) if not inside else {name for name in names if name[0] != "_"}
        assert set(names) <= known, f"{path} imports {names}"


def listed(face):
    """`__all__` of a face, as its file has it."""
    text = (ROOT / "gpnas" / face.replace(".", "/") / "__init__.py").read_text()
    lists = [n for n in ast.parse(text).body if isinstance(n, ast.Assign)]
    return next(ast.literal_eval(n.value) for n in lists if n.targets[0].id == "__all__")


def is_public(name):
    """Whether a dotted name is one of a public module, a face, or a namespace that a face lists."""
    package, _, inside = name.removeprefix("gpnas").removeprefix(".").partition(".")
    if package in ("configs", "commands"):
        return True
    if package not in PACKAGES:
        return not inside and (not package or f"`{package}`" in gpnas.__doc__)
    return not inside or inside in FACES or inside in listed(package)


def public_functions():
    """Functions that the faces and `gpnas.records` list, and those of the namespaces among them."""
    for face in (*FACES, "records"):
        module = importlib.import_module(f"gpnas.{face}")
        for name in module.__all__:
            inner = f"{module.__name__}.{name}"
            found = getattr(module, name, None) or importlib.import_module(inner)
            if inspect.ismodule(found):
                inside = [f for f in vars(found).values() if inspect.isfunction(f)]
                yield from (
                    f for f in inside if f.__module__ == found.__name__ and f.__name__[0] != "_"
                )
            elif inspect.isfunction(found):
                yield found


@pytest.mark.slow
def test_public_functions_take_paths_as_text():
    for function in set(public_functions()):
        for parameter in inspect.signature(function).parameters.values():
            taken = inspect.formatannotation(parameter.annotation)
            where = f"{function.__module__}.{function.__name__}({parameter})"
            assert not re.search(r"\bPath\b", taken), where


def test_studies_configs_and_documents_import_public_names():
    assert is_public("gpnas.records") and is_public("gpnas.search.build")
    assert not is_public("gpnas._files") and not is_public("gpnas.train._loop")
    folders = ("experiments", "configs", "docs")
    for path in [p for f in folders for p in (ROOT / f).rglob("*.py")]:
        for module, names in imported(path):
            if module.partition(".")[0] == "gpnas":
                assert is_public(module), f"{path} imports {module}"
                private = [name for name in names if name[0] == "_"]
                assert not private, f"{path} imports {private} of {module}"
                unlisted = [name for name in names if not is_public(f"gpnas.{name}")]
                assert module != "gpnas" or not unlisted, f"{path} imports {unlisted}"


def test_every_dependency_has_its_reason_and_is_imported_somewhere():
    """`importlib_resources` is imported by tensorflow-datasets alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [project["optional-dependencies"][name] for name in ("data", "report", "search")]
    names = [re.match(r"[\w-]+", one)[0] for one in sum(extras, project["dependencies"])]
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


# Names of functions and types in several modules, because they mean the same of different things.
SAME_IN_MODULES = {
    # the same score, of weights (`masks.score`) and of units (`units.score`); `random` also is
    # a strategy of searches and an initialization of units
    "growth_gain", "magnitude", "random", "removal_cost", "taylor",
    # the same question of two kinds of gates (`gates.binary`, `gates.concrete`)
    "nonzero_at_test",
    # a cell of DARTS and of a table: the class of a module is in the paths of its parameters
    "Cell",
    # `commandline.parse` of flags, `data.augment.parse` of augmentations
    "parse",
}  # fmt: skip


def defined(path):
    """Names of a module's functions and types, and of other objects that its package lists."""
    face = ".".join(path.parent.relative_to(ROOT / "gpnas").parts)
    public = listed(face) if face in FACES else ()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_":
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from {ast.unparse(target) for target in targets} & set(public)


def test_no_two_modules_define_the_same_name():
    found = {}
    for path in (ROOT / "gpnas").rglob("*.py"):
        for name in defined(path):
            found.setdefault(name, []).append(path)
    shared = {name: paths for name, paths in found.items() if len(paths) > 1}
    assert set(shared) <= SAME_IN_MODULES, shared
    assert set(shared) == SAME_IN_MODULES, "exceptions that are none"


MOST_LINES, MOST_PARAMETERS, MOST_IN_A_MODULE = 60, 8, 350
# Constructors whose docstring explains every argument; without it they are within the limit.
LONG_DOCSTRINGS = {
    "_loader.load", "_plasticity.plasticity", "_sparsify.sparsify", "_registry.build",
    "_step.make_step", "binary.bernoulli", "development.development",
    "development_cost.development_cost", "development_units.development_units",
    "lottery.lottery", "_front.train_front", "_on_units.on_units",
}  # fmt: skip
# Every field of a config or of a record, one a line.
ONE_LIST = {"_config.base"}
# Methods, strategies and the like have a keyword for each setting, which configs set by name.
MANY_PARAMETERS = {
    "_loader.load", "_plasticity.plasticity", "_registry.build", "_run.search_together",
    "arms.equal_shares", "arms.random_units", "development.development",
    "development_cost.development_cost", "development_units.development_units", "_lanas.lanas",
    "npn.npn_expand", "pipeline.pipeline", "sensitive.sensitivity", "sensitive.serene",
    "slim.slim", "sparse_vd.sparse_vd", "variants.noisy",
}  # fmt: skip


def lines_of(function):
    """Lines of a function, and those without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    return lines, lines - documented * (first.end_lineno - first.lineno + 1)


def test_functions_and_modules_are_short():
    for path in [p for f in ("gpnas", "experiments", "configs") for p in (ROOT / f).rglob("*.py")]:
        text = path.read_text()
        assert len(text.splitlines()) <= MOST_IN_A_MODULE, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                name, (lines, body) = f"{path.stem}.{node.name}", lines_of(node)
                assert lines <= MOST_LINES or name in LONG_DOCSTRINGS | ONE_LIST, name
                assert body <= MOST_LINES or name in ONE_LIST, name
                given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                assert len(given) <= MOST_PARAMETERS or name in MANY_PARAMETERS, name


def asserting(node, helpers):
    """Whether a function asserts something itself or calls one that does."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assert):
            return True
        if isinstance(inner, ast.Call):
            name = ast.unparse(inner.func).rpartition(".")[2]
            if name in {"raises", "warns"} or name.startswith("assert") or name in helpers:
                return True
    return False


def without_assertion(text):
    """Names of the tests in a module's text that assert nothing."""
    found = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
    helpers = set()
    for _ in found:  # a helper may call another
        helpers |= {f.name for f in found if f.name[:5] != "test_" and asserting(f, helpers)}
    return [f.name for f in found if f.name[:5] == "test_" and not asserting(f, helpers)]


@pytest.mark.slow
def test_every_test_asserts_something():
    assert without_assertion("def test_a():\n    f()\ndef f():\n    pass") == ["test_a"]
    assert not without_assertion("def test_a():\n    f()\ndef f():\n    assert g()")
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert not without_assertion(path.read_text()), path


def test_tests_patch_no_private_names():
    private = re.compile(r'setattr\([^)]*?"(?:\w+\.)*_[A-Za-z]\w*"')
    found = {
        f"{path.name}: {match[0]}"
        for path in (ROOT / "tests").rglob("*.py")
        for match in private.finditer(path.read_text())
    }
    assert not found
