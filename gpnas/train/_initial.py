"""Initial variables of a run from another run, a file of weights, or the user's code."""

import difflib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from ml_collections import ConfigDict

from gpnas import plugins
from gpnas.errors import UserError, explained
from gpnas.masks import tree
from gpnas.train._load_run import load_run

_FIELD = "train.init_from"
_ALLOWED = "a run's folder, a .safetensors file, a folder of Orbax, or module:function"


def load_variables(config: ConfigDict, like: Any) -> Any:
    """Loads the variables that `train.init_from` names; returns None if it is empty.

    Leaves are found by path: "Dense_0/kernel" of the parameters, "batch_stats/…" of another
    collection. `train.init_names` maps prefixes of network paths to prefixes in the source. Leaves
    with an empty prefix, and collections that the source lacks, keep their initial values.

    Args:
      config: The `train` section.
      like: Shapes of the network's variables.

    Returns:
      A tree of the same structure; None for a leaf that is not loaded.

    Raises:
      UserError: If the source does not exist, or a leaf is missing or has another shape.
    """
    names = config.init_names.to_dict()
    if not config.init_from:
        if names:
            raise UserError("train.init_names", names, "none without train.init_from")
        return None
    found = dict(_leaves(config.init_from, _read(config.init_from)))
    missing = {name for name in like if name != "params" and not _has(found, f"{name}/", names)}
    used = set()
    _check_names(names, like)

    def leaf(path: tuple, own: Any) -> Any:
        collection, name = tree.path_name(path).partition("/")[0], _own_name(path)
        source = _renamed(name, names)
        if collection in missing or source is None:
            return None
        if source not in found:
            near = ", ".join(difflib.get_close_matches(source, found, 3, 0)) or "none"
            allowed = f"weights with {source}; similar: {near} (train.init_names maps names)"
            raise UserError(_FIELD, config.init_from, allowed)
        value = np.asarray(found[source])
        shown = source if source == name else f"{source} (here {name})"
        _check_leaf(_FIELD, config.init_from, shown, value, own)
        used.add(source)
        return value.astype(own.dtype)

    loaded = jax.tree.map_with_path(leaf, like)
    if unused := sorted(set(found) - used):
        shown = ", ".join(unused[:4]) + (", …" if len(unused) > 4 else "")
        logging.warning("%s: leaves that are not used: %s", config.init_from, shown)
    return loaded


def _check_names(names: Mapping[str, str], like: Any) -> None:
    """Checks that each mapped prefix is a prefix of a path of the network."""
    own = [_own_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(like)[0]]
    for name, theirs in names.items():
        if not isinstance(theirs, str):
            raise UserError(f"train.init_names.{name}", theirs, "a path in the source, as text")
        if not any(f"{path}/".startswith(f"{name}/") for path in own):
            first = dict.fromkeys(path.partition("/")[0] for path in own)
            allowed = f"prefixes of paths of this network: {', '.join(first)}, or longer"
            raise UserError("train.init_names", name, allowed)


def _own_name(path: tuple) -> str:
    """Returns a path of the network without "params/", as a source may name it."""
    return tree.path_name(path).removeprefix("params/")


def check_variables(variables: Any, like: Any) -> None:
    """Checks that variables match a network; a leaf that is None is initialized.

    Args:
      variables: Variables given by a caller.
      like: Shapes of the network's variables.

    Raises:
      UserError: For the first leaf that is missing, unknown, of another shape, or not finite.
    """

    def leaves(tree_: Any) -> dict[str, Any]:
        flat = jax.tree_util.tree_flatten_with_path(tree_, is_leaf=lambda leaf: leaf is None)[0]
        return {tree.path_name(path): leaf for path, leaf in flat}

    wanted, given = leaves(like), leaves(variables)
    for kind, names in (("lacks", wanted.keys() - given), ("has", given.keys() - wanted)):
        if names:
            allowed = f"variables of this network: {', '.join(like)}; it {kind} {min(names)}"
            raise UserError("variables", type(variables).__name__, allowed)
    for name, own in wanted.items():
        if given[name] is not None:
            _check_leaf("variables", name, name, given[name], own)


def _check_leaf(field: str, got: str, name: str, value: Any, own: Any) -> None:
    """Raises UserError for a leaf that has another shape or is not real and finite."""
    if np.shape(value) != own.shape:
        raise UserError(field, got, f"{name} of shape {own.shape}; not {np.shape(value)}")
    if not jnp.issubdtype(own.dtype, jnp.floating):
        return
    numbers = np.asarray(value)
    if not jnp.issubdtype(numbers.dtype, jnp.floating):
        raise UserError(field, got, f"{name} of {own.dtype}; not {numbers.dtype}")
    if not np.isfinite(numbers.astype(np.float32)).all():
        raise UserError(field, got, f"{name} of finite numbers")


def _renamed(name: str, names: Mapping[str, str]) -> str | None:
    """Returns the source's path: replaces the longest mapped prefix; None: not loaded."""
    matches = [one for one in names if name == one or name.startswith(f"{one}/")]
    if not matches:
        return name
    one = max(matches, key=len)
    return f"{names[one]}{name[len(one) :]}" if names[one] else None


def _has(found: Mapping[str, Any], collection: str, names: Mapping[str, str]) -> bool:
    mapped = [theirs for ours, theirs in names.items() if f"{ours}/".startswith(collection)]
    return any(path.startswith((collection, *filter(None, mapped))) for path in found)


def _read(source: str) -> Any:
    path = pathlib.Path(source)
    if path.suffix == ".safetensors" and path.is_file():
        return _read_safetensors(path)
    if (path / "record.json").is_file():
        return load_run(path).variables
    if path.is_dir():
        # Orbax raises many types.
        with explained(_FIELD, source, _ALLOWED, Exception), ocp.StandardCheckpointer() as reader:
            found = reader.restore(path.absolute())
        return found
    if ":" not in source:
        raise UserError(_FIELD, source, _ALLOWED)
    make: Any = plugins.find(_FIELD, source, {}, dict)
    return plugins.call_user(_FIELD, source, "a function that returns variables", make)


def _read_safetensors(path: pathlib.Path) -> dict[str, Any]:
    allowed = "another source, or the package safetensors (pip install 'gpnas[deploy]')"
    with explained(_FIELD, str(path), allowed, ImportError):
        from safetensors import SafetensorError, safe_open
    broken = (SafetensorError, OSError, ValueError, LookupError, TypeError)
    said = explained(_FIELD, str(path), "a safetensors file", *broken)
    with said, safe_open(path, framework="np") as file:  # safetensors.numpy reads no bfloat16
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return arrays


def _leaves(source: str, variables: Any) -> Iterator[tuple[str, Any]]:
    """Yields leaves by path; dots in flat names, as in PyTorch, also separate levels."""
    if not isinstance(variables, Mapping):
        allowed = f"variables as a dict, nested or flat; not {type(variables).__name__}"
        raise UserError(_FIELD, source, allowed)
    for path, leaf in jax.tree_util.tree_flatten_with_path(_dicts(variables))[0]:
        yield tree.path_name(path).replace(".", "/").removeprefix("params/"), leaf


def _dicts(variables: Any) -> Any:
    """Converts mappings of any kind to dicts, which are pytrees in JAX."""
    if not isinstance(variables, Mapping):
        return variables
    return {name: _dicts(inner) for name, inner in variables.items()}
