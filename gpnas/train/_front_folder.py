"""The folder of a front: its own files, and the config with which it began."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from gpnas._files import sealed, write_json
from gpnas.errors import UserError
from gpnas.train import _processes
from gpnas.train._workdir import LOCK, check_same_run, check_workdir, locked_run, read_about

LAYERS = "layers.json"  # measured latencies of layers
_SETTINGS = "settings.json"  # the config with which the front began
_RESULTS = ("front.json", "latency.json", "front.html")  # the last two are those of other modules
_ADDED = ("baselines", "retrain")  # a resumed front may train further networks


def check_front_folder(folder: pathlib.Path, config: ConfigDict, runs: Sequence[str]) -> None:
    """Checks that a front overwrites nothing and resumes only the same front.

    Args:
      folder: Folder of the front.
      config: Its config.
      runs: Names of the folders of its runs.

    Raises:
      UserError: If the folder contains another front, or the same front without `resume`.
    """
    path = folder / _SETTINGS
    if config.resume:
        if path.exists():
            check_same_run(read_about(path), _description(config), str(folder))
        return
    for name in (_SETTINGS, *_RESULTS):
        if (folder / name).exists():
            allowed = f"a folder without a front in it (this one has {name})"
            raise UserError("workdir", str(folder), f"{allowed}, or --config.resume=True")
    for name in runs:
        check_workdir(folder / name, config)


def write_settings(folder: pathlib.Path, config: ConfigDict) -> None:
    """Writes the config that `check_front_folder` compares."""
    write_json(folder / _SETTINGS, sealed(_description(config)))


@contextlib.contextmanager
def locked_front(folder: pathlib.Path, config: ConfigDict, runs: Sequence[str]) -> Iterator[None]:
    """Locks the folder of a front during the block.

    The files that the block writes are removed if it raises `UserError` before the main run.

    Args:
      folder, config, runs: As for `check_front_folder`.

    Raises:
      UserError: As for `check_front_folder`, or if another front uses the folder.
    """
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    own = [folder / name for name in (_SETTINGS, LAYERS, LOCK)]
    written = [path for path in own if not path.exists()]
    with contextlib.ExitStack() as stack:

        def lock() -> None:
            stack.enter_context(locked_run(folder))
            check_front_folder(folder, config, runs)

        _processes.from_first(lock)
        try:
            yield
        except UserError:
            if not (folder / "main" / "config.json").exists():
                with contextlib.suppress(OSError):  # no folder, or others' files in it
                    for path in written:
                        path.unlink(missing_ok=True)
                    for one in made:
                        one.rmdir()
            raise


def _description(config: ConfigDict) -> Mapping[str, Any]:
    return {"config": {k: v for k, v in config.to_dict().items() if k not in _ADDED}}
