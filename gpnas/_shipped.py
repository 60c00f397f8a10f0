"""Configs that come with gpnas, found by name: in a checkout and in an installed wheel.

`gpnas/configs` and `gpnas/commands` are links to the folders `configs/` and `experiments/` of the
repository; a wheel has their files.
"""

from pathlib import Path

from gpnas.errors import UserError

_HERE = Path(__file__).parent
_PLACES = {"configs/": _HERE / "configs", "experiments/": _HERE / "commands", "": _HERE / "configs"}


def config_names() -> list[str]:
    """Names of the configs that come with gpnas, `searches/lemonade` for one in a folder."""
    folder = _HERE / "configs"
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.glob("**/*.py"))


def find_config(path: str) -> str:
    """The file of a config.

    Args:
      path: Of a file, or the name of one of gpnas (`rigl`, `rigl.py`, `configs/rigl.py`); a file of
        that name in the current folder comes first. What follows a colon is for `get_config`.

    Returns:
      The path, with what follows the colon.

    Raises:
      UserError: If there is no such file.
    """
    name, colon, argument = path.partition(":")
    prefix = next(prefix for prefix in _PLACES if name.startswith(prefix))
    shipped = (_PLACES[prefix] / name.removeprefix(prefix)).resolve()
    for file in (Path(name), Path(f"{name}.py"), shipped, Path(f"{shipped}.py")):
        if file.is_file():
            return f"{file}{colon}{argument}"
    allowed = f"a Python file, or a config of gpnas: {', '.join(config_names())}"
    raise UserError("config", path, allowed)
