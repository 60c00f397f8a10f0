"""Orbax checkpoints with digests: damaged steps are detected, and an older step is restored.

A JSON file beside each step contains digests of its files, shapes and dtypes of the tree, and data
of the caller. `restore` checks the files against it, refuses links, and skips damaged steps.
"""

import contextlib
import errno
import hashlib
import os
import pathlib
import re
import shutil
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging

from gpnas._files import disk_failure, read_json, sealed, sync, write_json
from gpnas.errors import UserError
from gpnas.masks import tree
from gpnas.train import _placement, _processes

_OVERHEAD = 2**18  # bytes of a checkpoint besides its arrays: metadata, digests
_SILENT = threading.Lock()  # the verbosity is that of all runs of this process
_LONGEST_S = 10.0  # wait for a thread of a failed save
_METADATA = "_CHECKPOINT_METADATA"  # in each folder that Orbax has finished
_STEP = re.compile("[0-9]+")
_OURS = re.compile(  # beside steps: all names that a save writes
    r"[0-9]+\.digest\.json|\.[0-9]+\.digest\.json\.([0-9]+\.)?part|[0-9]+\.orbax-checkpoint-tmp.*"
)


def check_folder(folder: pathlib.Path) -> None:
    """Checks that the checkpoint folder has no entries that look like steps but are none.

    Raises:
      UserError: If the folder is a link or a file, or an entry has the name of a step but is no
        checkpoint. Entries with other names are ignored.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError("workdir", str(folder), "a folder for checkpoints, not a link or a file")
    for path in sorted(folder.glob("*")):
        if _STEP.fullmatch(path.name) and not _is_step(path):
            raise UserError("workdir", str(path), "a checkpoint, or nothing of this name")


def save(
    folder: pathlib.Path,
    step: int,
    tree: Any,
    about: Any = None,
    kept: Collection[int] = (),
    newest: int = 2,
) -> None:
    """Writes a checkpoint, waits until it is on disk, and removes old ones.

    Args:
      folder: Folder of the run's checkpoints. Entries with other names are ignored.
      step: Number of the checkpoint. Existing checkpoints of this step or later are removed: the
        run did not restore them, so they are incomplete or damaged.
      tree: Any pytree of arrays and typed random keys.
      about: JSON data, for `accept` of `restore`.
      kept: Steps that are never removed.
      newest: Number of latest checkpoints to keep.

    Raises:
      UserError: As for `check_folder`.
      OSError: If it cannot be written; older checkpoints are unchanged.
    """
    check_folder(folder)
    before = [old for old in steps(folder) if old < step]
    _keep_only(folder, before)
    _check_room(folder, tree)
    # With several processes, Orbax writes only this process's part of JAX arrays.
    plain = jax.process_count() > 1
    stored = _processes.to_numpy(tree) if plain else tree
    try:
        with _silent(), _manager(folder) as manager:
            manager.save(step, args=ocp.args.StandardSave(stored), force=True)
            manager.wait_until_finished()
        for path in [*sorted((folder / str(step)).rglob("*")), folder / str(step), folder]:
            sync(path)
    except Exception as error:  # Orbax raises many types
        _keep_only(folder, before)
        number = disk_failure(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(folder)) from error
    content = {"tree": _describe(tree), "files": _digests(folder / str(step)), "about": about}
    write_json(_digest_file(folder, step), sealed({**content, "plain": plain}))
    now = [*before, step]
    _keep_only(folder, {*now[-newest:], *(old for old in now if old in kept)})


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keeps Orbax's threads from logging errors that `save` raises, and waits for their end.

    If one of them fails, Orbax raises its error while others still write to the folder.
    """
    with _SILENT:
        before = logging.get_verbosity()
        logging.set_verbosity(logging.FATAL)
        try:
            yield
        finally:
            for thread in threading.enumerate():
                if type(thread).__module__.startswith("orbax."):
                    thread.join(_LONGEST_S)
            logging.set_verbosity(before)


def _check_room(folder: pathlib.Path, tree: Any) -> None:
    """Checks that a checkpoint fits on the disk; Orbax itself would log long tracebacks.

    Raises:
      OSError: If it does not.
    """
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) + _OVERHEAD
    if shutil.disk_usage(parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def restore(
    folder: pathlib.Path,
    like: Any,
    accept: Callable[[Any], bool] = lambda about: True,
    last: int | None = None,
) -> tuple[int, Any] | None:
    """Restores the newest undamaged checkpoint that is accepted.

    Args:
      folder: Folder of the run's checkpoints.
      like: A pytree of the expected structure, shapes and dtypes.
      accept: `about → bool`, whether a checkpoint may be used; `about` is None if the checkpoint
        has none.
      last: Largest step to read; None: no limit.

    Returns:
      `(step, tree)`, or None if there is no checkpoint.

    Raises:
      UserError: If the newest accepted checkpoint has another structure, or none is accepted.
    """
    found = [step for step in steps(folder) if last is None or step <= last]
    for step in reversed(found):
        known = _intact_digests(folder, step)
        if known is None:
            logging.warning("checkpoint %d is damaged: trying the previous one", step)
            continue
        if not accept(known.get("about")):
            logging.warning("checkpoint %d does not fit: trying the previous one", step)
            continue
        changed = sorted(set(known["tree"].items()) ^ set(_describe(like).items()))
        if changed:
            raise UserError(
                "resume", str(folder), f"checkpoints of this config; differs: {changed[0][0]}"
            )
        try:
            with _manager(folder) as manager:
                return step, _restore(manager, step, like, known.get("plain", False))
        except Exception as error:  # Orbax raises many types, with long messages
            reason = str(error).strip().partition("\n")[0][:200]
            raise UserError(
                "resume", str(folder), f"checkpoints that Orbax {ocp.__version__} reads ({reason})"
            ) from error
    if found:
        allowed = (
            "an undamaged checkpoint and the metrics.jsonl of this run; or no checkpoint, to start"
            " from the beginning"
        )
        raise UserError("resume", str(folder), allowed)
    return None


def steps(folder: pathlib.Path) -> list[int]:
    """Returns the completely saved steps: the digest is written last."""
    found = [path.name.partition(".")[0] for path in folder.glob("*.digest.json")]
    return sorted(int(name) for name in found if _STEP.fullmatch(name))


def _manager(folder: pathlib.Path) -> ocp.CheckpointManager:
    options: dict[str, Any] = {"max_to_keep": None, "enable_async_checkpointing": False}
    if jax.process_count() > 1:  # Orbax would synchronise, and all processes would write
        folder.mkdir(parents=True, exist_ok=True)
        own = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(own, {own}, "gpnas")
        options |= {"create": False, "multiprocessing_options": alone}
    options = ocp.CheckpointManagerOptions(**options)
    return ocp.CheckpointManager(folder.absolute(), options=options)


def _restore(manager: ocp.CheckpointManager, step: int, like: Any, plain: bool) -> Any:
    """Returns the tree of a step, with NumPy arrays if `plain`."""
    if plain:
        found = manager.restore(step, args=ocp.args.StandardRestore(_processes.to_numpy(like)))
        return _processes.from_numpy(found, like)
    if jax.process_count() == 1:
        return manager.restore(step, args=ocp.args.StandardRestore(like))
    like = _placement.put(like)
    found = manager.restore(step, args=ocp.args.StandardRestore(like))
    return _placement.on_first_device(found)


def _digest_file(folder: pathlib.Path, step: int) -> pathlib.Path:
    return folder / f"{step}.digest.json"


def _is_step(path: pathlib.Path) -> bool:
    """Returns whether a folder was written by Orbax or is empty."""
    if path.is_symlink() or not path.is_dir():
        return False
    known = path / _METADATA, path.with_name(f"{path.name}.digest.json")
    return any(file.exists() for file in known) or not any(path.iterdir())


def _is_ours(path: pathlib.Path) -> bool:
    """Returns whether a save writes entries of this name; nothing else may be removed."""
    if _STEP.fullmatch(path.name):
        return _is_step(path)
    return bool(_OURS.fullmatch(path.name)) and not path.is_symlink()


def _keep_only(folder: pathlib.Path, kept: Collection[int]) -> None:
    """Removes all other steps, their digests first, and files of interrupted saves."""
    stay = {path for step in kept for path in (folder / str(step), _digest_file(folder, step))}
    others = sorted(set(folder.glob("*")) - stay, reverse=True)
    for path in [path for path in others if _is_ours(path)]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _intact_digests(folder: pathlib.Path, step: int) -> dict[str, Any] | None:
    """Returns the digest file's content for a step; None if the step is damaged."""
    try:
        known = read_json(_digest_file(folder, step), "resume", "a checkpoint's digest")
        intact = "digest" in known and known["files"] == _digests(folder / str(step))
    except (KeyError, OSError, UserError):
        return None
    return known if intact else None


def _describe(state: Any) -> dict[str, str]:
    flat = jax.tree_util.tree_flatten_with_path(state)[0]
    return {tree.path_name(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in flat}


def _digests(folder: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256 of each file by relative path; for links and others only their type."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            found[name] = "not a regular file"
        elif path.is_file():
            with open(path, "rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
