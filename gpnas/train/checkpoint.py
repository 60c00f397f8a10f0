"""Checkpoints with Orbax, and what Orbax does not do: notice damage, and fall back.

Beside each step lies a digest of its files and of the tree's shapes and types. Before a restore the
files are compared with it, links are refused, and a damaged step gives way to the one before it.
"""

import hashlib
import json
import pathlib
import shutil
from collections.abc import Collection
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging

from gpnas._files import write_json
from gpnas.errors import UserError
from gpnas.masks.tree import path_name

_KEEP = 2


def save(folder: pathlib.Path, step: int, tree: Any) -> None:
    """Writes a checkpoint and returns when it is safe on disk; keeps the last two.

    Args:
      folder: Where the checkpoints of a run lie.
      step: Its number. What lies there of this step or a later one was cut off or is damaged, as
        the run has come here without it, and goes.
      tree: Any pytree of arrays, typed random keys among them.
    """
    before = [old for old in _steps(folder) if old < step]
    _keep_only(folder, before)
    with _manager(folder) as manager:
        manager.save(step, args=ocp.args.StandardSave(tree), force=True)
        manager.wait_until_finished()
    content = {"tree": _describe(tree), "files": _digests(folder / str(step))}
    write_json(_digest_file(folder, step), content | {"digest": _digest_of(content)})
    _keep_only(folder, [*before, step][-_KEEP:])


def restore(folder: pathlib.Path, like: Any) -> tuple[int, Any] | None:
    """Reads the newest whole checkpoint.

    Args:
      folder: Where the checkpoints of a run lie.
      like: A pytree of the structure, shapes and types that are expected.

    Returns:
      `(step, tree)`, or None if there is no checkpoint.

    Raises:
      UserError: If the newest whole one is of another kind, or none is whole.
    """
    steps = _steps(folder)
    for step in reversed(steps):
        known = _whole(folder, step)
        if known is None:
            logging.warning("checkpoint %d is damaged: trying the one before it", step)
            continue
        changed = sorted(set(known["tree"].items()) ^ set(_describe(like).items()))
        if changed:
            raise UserError(
                "resume", str(folder), f"checkpoints of this config; differs: {changed[0][0]}"
            )
        try:
            with _manager(folder) as manager:
                return step, manager.restore(step, args=ocp.args.StandardRestore(like))
        except Exception as error:  # Orbax raises all kinds, with a thousand lines
            reason = str(error).strip().partition("\n")[0][:200]
            raise UserError(
                "resume", str(folder), f"checkpoints that Orbax {ocp.__version__} reads ({reason})"
            ) from error
    if steps:
        raise UserError("resume", str(folder), "at least one undamaged checkpoint")
    return None


def _manager(folder: pathlib.Path) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=None, enable_async_checkpointing=False)
    return ocp.CheckpointManager(folder.absolute(), options=options)


def _digest_file(folder: pathlib.Path, step: int) -> pathlib.Path:
    return folder / f"{step}.digest.json"


def _steps(folder: pathlib.Path) -> list[int]:
    """Steps whose save was finished: the digest is written last."""
    found = [path.name.partition(".")[0] for path in folder.glob("*.digest.json")]
    return sorted(int(name) for name in found if name.isdigit())


def _keep_only(folder: pathlib.Path, steps: Collection[int]) -> None:
    """Removes all other steps, their digests first, and what interrupted saves left."""
    kept = {path for step in steps for path in (folder / str(step), _digest_file(folder, step))}
    for path in sorted(set(folder.glob("*")) - kept, reverse=True):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _whole(folder: pathlib.Path, step: int) -> dict[str, Any] | None:
    """What is known of a step, if it is as it was written."""
    try:
        known = json.loads(_digest_file(folder, step).read_text())
        whole = known.pop("digest") == _digest_of(known)
    except (AttributeError, KeyError, OSError, ValueError):
        return None
    return known if whole and known["files"] == _digests(folder / str(step)) else None


def _describe(tree: Any) -> dict[str, str]:
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {path_name(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in flat}


def _digest_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _digests(folder: pathlib.Path) -> dict[str, str]:
    """SHA-256 of each file by relative path; of a link or anything else only what it is."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            found[name] = "not a regular file"
        elif path.is_file():
            with open(path, "rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
