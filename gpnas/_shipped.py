"""Finds the configs shipped with gpnas by name, in a checkout or an installed wheel.

`gpnas/configs` and `gpnas/commands` are links to `configs/` and `experiments/` in the repository; a
wheel contains their files.
"""

from pathlib import Path

from gpnas.errors import UserError, one_of

_HERE = Path(__file__).parent
_PLACES = {"configs/": _HERE / "configs", "experiments/": _HERE / "commands", "": _HERE / "configs"}


def config_names() -> list[str]:
    """Returns the names of the configs shipped with gpnas, such as `searches/lemonade`."""
    folder = _HERE / "configs"
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.glob("**/*.py"))


def find_config(path: str) -> str:
    """Finds the file of a config.

    Args:
      path: Path of a file, or name of a shipped config (`rigl`, `rigl.py`, `configs/rigl.py`); a
        file of that name in the current folder takes precedence. Text after a colon is the argument
        of `get_config`.

    Returns:
      The path, with the text after the colon.

    Raises:
      UserError: If the file does not exist.
    """
    name, colon, argument = path.partition(":")
    prefix = next(prefix for prefix in _PLACES if name.startswith(prefix))
    shipped = (_PLACES[prefix] / name.removeprefix(prefix)).resolve()
    for file in (Path(name), Path(f"{name}.py"), shipped, Path(f"{shipped}.py")):
        if file.is_file():
            return f"{file}{colon}{argument}"
    allowed = f"a Python file, or a config of gpnas: {one_of(path, config_names())}"
    raise UserError("config", path, allowed)
