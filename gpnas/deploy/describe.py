"""What is known about an exported file: its class names, its images, the digest of its content.

ONNX files and those of `save_network` hold the names themselves. Beside every other file lies
FILE.json, which has the digest, too.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from gpnas._files import parse_json, read_json, sealed, write_json
from gpnas.errors import UserError


class Description(NamedTuple):
    """What a prediction needs besides the network.

    Attributes:
      class_names: By logit.
      image_shape: (height, width, channels).
    """

    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]


def side_file(path: pathlib.Path) -> pathlib.Path:
    """Where the description of an exported file lies: FILE.json beside it."""
    return path.with_name(f"{path.name}.json")


def write_side_file(path: pathlib.Path, description: Description) -> None:
    """Writes FILE.json beside a finished file."""
    content = description._asdict() | {"sha256": digest(path.read_bytes())}
    write_json(side_file(path), sealed(content))


def check(path: pathlib.Path, content: bytes) -> None:
    """Compares a file's content with the digest in FILE.json, if there is one.

    Raises:
      UserError: If one of the two has changed.
    """
    side = side_file(path)
    if not side.exists():
        return
    if read_sealed(side).get("sha256") != digest(content):
        raise UserError("file", str(path), f"the file as it was exported: {side.name} has another")


def read_description(path: pathlib.Path, metadata: Mapping[str, str]) -> Description:
    """The description of an exported file.

    Args:
      path: The file; of a network by `save_network`, its JSON.
      metadata: What the file itself says, as `metadata_of` wrote it; empty if it cannot.

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
    """A description as text by name, for formats that hold such."""
    return {name: json.dumps(value) for name, value in description._asdict().items()}


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def read_sealed(path: pathlib.Path) -> dict[str, Any]:
    """A JSON object as `sealed` made it; one without a digest is taken as it is.

    Raises:
      UserError: If the file is no JSON object, or has changed.
    """
    content = read_json(path, "file", "a JSON file as an export wrote it")
    return {name: value for name, value in content.items() if name != "digest"}
