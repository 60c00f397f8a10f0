"""The public names of gpnas: their documentation, and one page of the API reference per module.

Imports nothing of Sphinx, so that the tests check public names without it.
"""

import ast
import functools
import importlib
import inspect
import pathlib
import re
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from typing import Any

import gpnas
from gpnas import plugins
from gpnas.methods import METHODS

_COMMENT = re.compile(r"\s*#: ?(.*)")


def modules() -> list[str]:
    """Public modules in the order of `gpnas.__doc__`, each before the namespaces in it."""
    packages = re.findall(r"^\* `gpnas\.(\w+)`", gpnas.__doc__, re.MULTILINE)
    beside = re.findall(r"`(\w+)`", gpnas.__doc__.partition("Modules beside")[2].partition(".")[0])
    return [m for name in packages + beside for m in _with_namespaces(f"gpnas.{name}")]


def _with_namespaces(name: str) -> Iterator[str]:
    yield name
    for inner in getattr(importlib.import_module(name), "__all__", []):
        if isinstance(_value(name, inner), types.ModuleType):
            yield from _with_namespaces(f"{name}.{inner}")


def _value(module: str, name: str) -> Any:
    """An attribute of a module, or a module in it that is loaded on demand."""
    found = importlib.import_module(module)
    return (
        getattr(found, name)
        if hasattr(found, name)
        else importlib.import_module(f"{module}.{name}")
    )


def public(module: str) -> dict[str, Any]:
    """Public objects of a module by name: those in `__all__`, else those that it defines.

    A namespace leaves out what the package that it belongs to exports.
    """
    space = importlib.import_module(module)
    own = [n for n, x in vars(space).items() if is_code(x) and x.__module__ == module]
    documented = [*own, *_comments(module)]
    names = getattr(space, "__all__", [n for n in documented if not n.startswith("_")])
    found = {name: _value(module, name) for name in dict.fromkeys(names)}
    package = module.rpartition(".")[0]
    exported = getattr(importlib.import_module(package), "__all__", []) if package else []
    outside = {id(getattr(importlib.import_module(package), n, None)) for n in exported}
    return {
        name: value
        for name, value in found.items()
        if not isinstance(value, types.ModuleType) and id(value) not in outside
    }


def reference() -> dict[str, dict[str, Any]]:
    """`{module: {name: object}}`, each object in the first public module that has it."""
    seen: set[int] = set()
    found = {}
    for module in modules():
        found[module] = {n: x for n, x in public(module).items() if id(x) not in seen}
        seen |= {id(value) for value in found[module].values()}
    return {"gpnas": {"slim": gpnas.slim}} | found


@functools.cache
def _comments(module: str) -> dict[str, str]:
    """`{name: text}` of a module's assignments with a comment `#:` above or behind."""
    lines = pathlib.Path(importlib.import_module(module).__file__).read_text().splitlines()
    found = {}
    for node in ast.parse("\n".join(lines)).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        text = [m[1] for m in [_COMMENT.search(lines[node.end_lineno - 1])] if m]
        above = node.lineno - 2
        while not text and above >= 0 and lines[above].startswith("#:"):
            above -= 1
        text = text or [
            line.removeprefix("#:").strip() for line in lines[above + 1 : node.lineno - 1]
        ]
        for target in targets:
            if isinstance(target, ast.Name) and text:
                found[target.id] = "\n".join(text)
    return found


def _origin(module: str, name: str) -> tuple[str, str]:
    """The module that defines a name which another imports, and its name there."""
    tree = ast.parse(pathlib.Path(importlib.import_module(module).__file__).read_text())
    for node in tree.body:
        for alias in node.names if isinstance(node, ast.ImportFrom) else []:
            if (alias.asname or alias.name) == name:
                return _origin(str(node.module), alias.name)
    return module, name


def is_code(value: Any) -> bool:
    """Whether a value has a docstring of its own: a function or class, also a `custom_jvp` one."""
    return inspect.isroutine(inspect.unwrap(value)) or inspect.isclass(value)


def documentation(module: str, name: str) -> str:
    """The docstring of a public function or class; of anything else the comment `#:` beside it."""
    value = _value(module, name)
    if is_code(value):  # a tuple or dataclass without a docstring has one that Python made
        text = inspect.cleandoc(value.__doc__ or "")
        return "" if text.startswith(f"{name}(") else text
    origin, original = _origin(module, name)
    return _comments(origin).get(original, "")


def settings() -> set[str]:
    """Names of the settings of methods, which functions may have, too."""
    return {name for method in METHODS.values() for name in inspect.signature(method).parameters}


def signature(value: Any) -> tuple[str, str | None] | None:
    """Parameters and result of a function or class as its source has them.

    Names of types stay short, and ranges of settings are written out. None if there is no source,
    or a class is not made of fields.
    """
    value = inspect.unwrap(value)
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]
    except (OSError, TypeError, SyntaxError):
        return None
    node = _Annotations(vars(sys.modules[value.__module__])).visit(node)
    if isinstance(node, ast.FunctionDef):
        if node.args.args and node.args.args[0].arg in ("self", "cls"):
            del node.args.args[0]
        returns = ast.unparse(node.returns).strip("'") if node.returns else None
        return f"({ast.unparse(node.args)})", returns
    fields = [n for n in getattr(node, "body", []) if isinstance(n, ast.AnnAssign)]
    made_of_fields = fields or hasattr(value, "__dataclass_fields__")
    return (f"({', '.join(map(ast.unparse, fields))})", None) if made_of_fields else None


class _Annotations(ast.NodeTransformer):
    """Names of annotated types as `Annotated[float, "in (0, 1]"]`, and no quotes around types."""

    def __init__(self, names: Mapping[str, Any]):
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        value = self.names.get(node.id)
        ranges = [x for x in getattr(value, "__metadata__", ()) if isinstance(x, plugins.In)]
        if not ranges:
            return node
        plain = value.__origin__
        name = plain.__name__ if isinstance(plain, type) else str(plain)
        return ast.parse(f"Annotated[{name}, {str(ranges[0])!r}]", mode="eval").body

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return self._unquoted(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return self._unquoted(node)

    def _unquoted(self, node: Any) -> ast.AST:
        if isinstance(node.annotation, ast.Constant) and isinstance(node.annotation.value, str):
            node.annotation = ast.parse(node.annotation.value, mode="eval").body
        return self.generic_visit(node)


def members(value: Any) -> list[str]:
    """Public methods and properties that a class defines itself."""
    kinds = (property, classmethod, staticmethod, types.FunctionType, functools.cached_property)
    made = {"replace"} if hasattr(value, "__dataclass_fields__") else set()  # by flax.struct
    own = [n for n, x in vars(value).items() if n[0] != "_" and isinstance(x, kinds)]
    return [name for name in own if name not in made]


def undocumented() -> list[str]:
    """Dotted names of public modules, objects and methods without a docstring."""
    missing = []
    for module in modules():
        if not importlib.import_module(module).__doc__:
            missing.append(module)
        for name, value in public(module).items():
            if not documentation(module, name) or "(*args, **kwargs)" in documentation(
                module, name
            ):
                missing.append(f"{module}.{name}")
            for member in members(value) if inspect.isclass(value) else []:
                if not vars(value)[member].__doc__:
                    missing.append(f"{module}.{name}.{member}")
    return missing


def pages() -> dict[str, str]:
    """`{file: text}`: a page per public module."""
    found = reference()
    return {f"{name}.rst": _page(name, found) for name in found}


def write(folder: pathlib.Path, files: Mapping[str, str]) -> None:
    """Writes those files of a folder that have changed, and removes all others."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name, text in files.items():  # pages that are as before are not read again
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _page(module: str, reference: dict[str, dict[str, Any]]) -> str:
    """The text of a module's page: its docstring, tables of what is in it, and each name."""
    title = "API reference" if module == "gpnas" else module
    parts = [title, "=" * len(title), "", ".. highlight:: python", ""]
    parts += [f".. automodule:: {module}", ""]
    inner = [name for name in reference if name.rpartition(".")[0] == module]
    spaces: list[str] = []
    if inner:
        spaces = [name.removeprefix(f"{module}.") for name in inner]
        entries = [f"   {short} <{name}>" for short, name in zip(spaces, inner, strict=True)]
        parts += [".. toctree::", "   :hidden:", "", *entries, ""]
    for rows in (spaces, list(reference[module]) if len(reference[module]) > 1 else []):
        if rows:
            parts += [".. autosummary::", "   :nosignatures:", "", *(f"   {n}" for n in rows), ""]
    for name, value in reference[module].items():
        parts += [*_entry(module, name, value), ""]
    return "\n".join(parts)


def _entry(module: str, name: str, value: Any) -> list[str]:
    if not is_code(value):
        return [f".. autodata:: {module}.{name}", "   :no-value:"]
    if not inspect.isclass(value):
        return [f".. autofunction:: {module}.{name}"]
    kind = "exception" if issubclass(value, BaseException) else "class"
    listed = members(value) + ["__call__"] * ("__call__" in vars(value))
    options = [f"   :members: {', '.join(listed)}"] if listed else []
    return [f".. auto{kind}:: {module}.{name}", *options]
