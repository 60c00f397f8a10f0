"""The description of an exported file: class names, image shape, digest.

ONNX files and those of `save_network` contain the names. Every other file has FILE.json beside it,
which contains the digest, too.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from gpnas._files import PathLike, parse_json, read_json, sealed, write_json
from gpnas.errors import UserError


class Description(NamedTuple):
    """Metadata needed for predictions besides the network.

    Attributes:
      class_names: Names by logit.
      image_shape: (height, width, channels).
    """

    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]


def description_of(
    class_names: tuple[str, ...], num_classes: int, image_shape: tuple[int, ...]
) -> Description:
    """Returns the description for a data set; classes without names have their numbers."""
    return Description(class_names or tuple(map(str, range(num_classes))), image_shape)


def side_file(path: PathLike) -> pathlib.Path:
    """Returns the path of an exported file's description: FILE.json beside it."""
    path = pathlib.Path(path)
    return path.with_name(f"{path.name}.json")


def write_side_file(path: pathlib.Path, description: Description) -> None:
    """Writes FILE.json beside a complete file."""
    content = description._asdict() | {"sha256": digest(path.read_bytes())}
    write_json(side_file(path), sealed(content))


def check_digest(path: pathlib.Path, content: bytes) -> None:
    """Compares a file's content with the digest in FILE.json, if that exists.

    Raises:
      UserError: If either has changed.
    """
    side = side_file(path)
    if not side.exists():
        return
    if read_sealed(side).get("sha256") != digest(content):
        raise UserError("file", str(path), f"the file as it was exported: {side.name} has another")


def read_description(path: pathlib.Path, metadata: Mapping[str, str]) -> Description:
    """Reads the description of an exported file.

    Args:
      path: The file; the JSON file of a network by `save_network`.
      metadata: Metadata in the file itself, as by `metadata_of`; empty for formats without.

    Raises:
      UserError: If there is none, or it is damaged.
    """
    side = path if path.suffix == ".json" else side_file(path)
    known: Mapping[str, Any] = read_sealed(side) if side.exists() else {}
    try:
        known = known or {name: parse_json(text) for name, text in metadata.items()}
        names = tuple(str(name) for name in known["class_names"])
        shape = tuple(int(size) for size in known["image_shape"])
    except (ValueError, LookupError, TypeError) as error:
        allowed = f"an exported file with class names: in it, or in {side.name} beside it"
        raise UserError("file", str(path), allowed) from error
    if len(shape) != 3 or min(shape) < 1 or not names:
        raise UserError("file", str(path), "a file with class names and an image shape")
    return Description(names, shape)


def metadata_of(description: Description) -> dict[str, str]:
    """Converts a description to `{name: JSON text}`, for formats with metadata."""
    return {name: json.dumps(value) for name, value in description._asdict().items()}


def digest(content: bytes) -> str:
    """Returns the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def read_sealed(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object written with `sealed`; the digest is optional.

    Raises:
      UserError: If the file is not a JSON object, or has changed.
    """
    content = read_json(path, "file", "a JSON file as an export wrote it")
    return {name: value for name, value in content.items() if name != "digest"}
