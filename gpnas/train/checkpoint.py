"""Checkpoints with Orbax, and what Orbax does not do: notice damage, and fall back.

Beside each step lies a digest of its files and of the tree's shapes and types. Before a restore the
files are compared with it, links are refused, and a damaged step gives way to the one before it.
"""

import hashlib
import json
import pathlib
import shutil
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging

from gpnas.errors import UserError
from gpnas.masks.tree import path_name
from gpnas.train.workdir import write_json

_KEEP = 2


def save(folder: pathlib.Path, step: int, tree: Any) -> None:
    """Writes a checkpoint and returns when it is safe on disk; keeps the last two.

    Args:
      folder: Where the checkpoints of a run lie.
      step: Its number; must be above the last one's.
      tree: Any pytree of arrays, typed random keys among them.
    """
    with _manager(folder) as manager:
        manager.save(step, args=ocp.args.StandardSave(tree), force=True)
        manager.wait_until_finished()
    content = {"tree": _describe(tree), "files": _digests(folder / str(step))}
    write_json(folder / f"{step}.digest.json", content)
    for old in _steps(folder)[:-_KEEP]:
        shutil.rmtree(folder / str(old), ignore_errors=True)
        (folder / f"{old}.digest.json").unlink()


def restore(folder: pathlib.Path, like: Any) -> tuple[int, Any] | None:
    """Reads the newest whole checkpoint.

    Args:
      folder: Where the checkpoints of a run lie.
      like: A pytree of the structure, shapes and types that are expected.

    Returns:
      `(step, tree)`, or None if there is no checkpoint.

    Raises:
      UserError: If the newest whole one is of another kind (the config changed), or none is whole.
    """
    steps = _steps(folder)
    for step in reversed(steps):
        known = json.loads((folder / f"{step}.digest.json").read_text())
        if _digests(folder / str(step)) != known["files"]:
            logging.warning("checkpoint %d is damaged: trying the one before it", step)
            continue
        if known["tree"] != _describe(like):
            changed = sorted(set(known["tree"].items()) ^ set(_describe(like).items()))
            raise UserError(
                "resume", str(folder), f"checkpoints of this config; differs: {changed[0][0]}"
            )
        with _manager(folder) as manager:
            return step, manager.restore(step, args=ocp.args.StandardRestore(like))
    if steps:
        raise UserError("resume", str(folder), "at least one undamaged checkpoint")
    return None


def _manager(folder: pathlib.Path) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=None, enable_async_checkpointing=False)
    return ocp.CheckpointManager(folder.absolute(), options=options)


def _steps(folder: pathlib.Path) -> list[int]:
    found = [path.name.split(".")[0] for path in folder.glob("*.digest.json")]
    return sorted(int(name) for name in found if name.isdigit())


def _describe(tree: Any) -> dict[str, str]:
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {path_name(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in flat}


def _digests(folder: pathlib.Path) -> dict[str, str]:
    """SHA-256 of each file by relative path; of a link or anything else only what it is."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            found[name] = "not a regular file"
        elif path.is_file():
            with open(path, "rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
