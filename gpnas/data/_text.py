"""Character sequences of a text; targets are the next characters."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpnas.data._dataset import Decoded, Split, content_digest
from gpnas.data._fields import Fields
from gpnas.data._user_files import by_split, list_files, not_text
from gpnas.errors import UserError

_CODE_POINTS = 0x110000
CHUNK = 1 << 22  # characters read at once; bounds memory


def load_text(path: Path, length: int) -> Decoded:
    """Returns the characters of a file or a folder as tokens.

    Inputs and targets of a split are views of one array of tokens. Characters at its end that do
    not fill a sequence are dropped.

    Args:
      path: A file, a folder with `train.txt` (and optionally `test.txt` and `val.txt`), or a folder
        with other `.txt` files, which are concatenated in the order of their names.
      length: Characters per sequence.

    Raises:
      UserError: If a file cannot be read, is not UTF-8 or is too short, if `length` is below 1, or
        if there are fewer than two different characters.
    """
    if type(length) is not int or not 1 <= length < 2**31:
        raise UserError("data.length", length, "a whole number of 1 or more")
    found = list_files("text", path, ".txt")
    named = {} if path.is_file() else by_split(found)
    files = {part: [one] for part, one in named.items()} or {"train": [*found]}
    seen, counts = np.zeros(_CODE_POINTS, bool), {}
    for part, paths in files.items():
        counts[part] = _mark(paths, seen)
        if counts[part] <= length:
            allowed = f"more than {length} characters (data.length), not {counts[part]}"
            raise UserError("data.name", f"text:{_of(paths, path)}", allowed)
    known = np.flatnonzero(seen)
    if len(known) < 2:
        raise UserError("data.name", f"text:{path}", "a text with two different characters or more")
    token_of = np.zeros(_CODE_POINTS, np.int32)
    token_of[known] = np.arange(len(known))
    names = tuple(map(chr, known))
    fields = Fields("tokens", "next", len(names), names, tokens=len(names))
    splits = {}
    for part, paths in files.items():
        tokens = _tokens(paths, counts[part], token_of)
        if tokens is None:
            raise UserError(
                "data.name", f"text:{_of(paths, path)}", "files that do not change meanwhile"
            )
        end = (len(tokens) - 1) // length * length
        inputs, targets = tokens[:end].reshape(-1, length), tokens[1 : end + 1].reshape(-1, length)
        splits[part] = Split(inputs, targets)
    return Decoded(fields, splits, content_digest(fields, splits))


def _mark(paths: Sequence[Path], seen: npt.NDArray[np.bool_]) -> int:
    """Marks the code points of files in `seen`, (code points,); returns the character count."""
    count = 0
    for points in _code_points(paths):
        seen[points] = True
        count += len(points)
    return count


def _tokens(
    paths: Sequence[Path], count: int, token_of: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32] | None:
    """Returns the tokens of files, (count,) int32; None if their number has changed."""
    tokens, at = np.empty(count, np.int32), 0
    for points in _code_points(paths):
        if at + len(points) > count:
            return None
        tokens[at : at + len(points)] = token_of[points]
        at += len(points)
    return tokens if at == count else None


def _code_points(paths: Sequence[Path]) -> Iterator[npt.NDArray[np.uint32]]:
    """Yields the code points of files in blocks of bounded size; line ends become line feeds."""
    for path in paths:
        try:
            with open(path, encoding="utf-8-sig") as file:
                while chunk := file.read(CHUNK):
                    yield np.frombuffer(chunk.encode("utf-32-le"), "<u4")
        except UnicodeDecodeError as error:
            raise not_text(path) from error
        except OSError as error:
            raise UserError("data.name", str(path), f"a readable file ({error})") from error


def _of(paths: Sequence[Path], whole: Path) -> Path:
    """Returns what a message names: the file, or the folder of several files."""
    return paths[0] if len(paths) == 1 else whole
