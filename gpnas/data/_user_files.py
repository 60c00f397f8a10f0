"""A user's text files: files of each split, and errors about unreadable lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gpnas.data.image_files import name_order
from gpnas.errors import UserError

VALIDATION = ("val", "valid", "validation")
_SPLIT_OF = {"train": "train", "test": "test", **dict.fromkeys(VALIDATION, "validation")}
SPLITS = ("train", "test", "validation")


def list_files(kind: str, path: Path, suffix: str) -> Sequence[Path]:
    """Returns the file, or the files of a folder with the given suffix, in natural order.

    Raises:
      UserError: If there are none.
    """
    if path.is_file():
        return [path]
    found = path.iterdir() if path.is_dir() else ()
    fits = [one for one in found if one.suffix.lower() == suffix and one.name[0] != "."]
    files = sorted((one for one in fits if one.is_file()), key=name_order)
    if not files:
        allowed = f"a file, or a folder with files *{suffix}"
        raise UserError("data.name", f"{kind}:{path}", allowed)
    return files


def by_split(files: Sequence[Path]) -> Mapping[str, Path]:
    """Maps files named `train`, `test` and `val` (or `valid`, `validation`) to splits.

    Returns:
      File by split; empty if no file is named `train`.

    Raises:
      UserError: If there are other files beside `train`, or two validation files.
    """
    if not any(one.stem == "train" for one in files):
        return {}
    splits: dict[str, Path] = {}
    for one in files:
        part = _SPLIT_OF.get(one.stem)
        if part is None or part in splits:
            names = f"train, test, and one of {', '.join(VALIDATION)}"
            raise UserError("data.name", str(one), f"a folder with files {names}, and no others")
        splits[part] = one
    return {part: splits[part] for part in SPLITS if part in splits}


def not_text(path: Path) -> UserError:
    """Returns the error about a file that is not UTF-8, with its first invalid line."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return UserError("data.name", f"{path}:{number}", f"text in UTF-8 ({error.reason})")
    return UserError("data.name", str(path), "text in UTF-8")
