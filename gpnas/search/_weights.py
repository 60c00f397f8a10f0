"""Files with the weights of candidates, which children inherit."""

import hashlib
import json
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import serialization

from gpnas._files import tuples, write_bytes
from gpnas.errors import UserError, explained

_DIGEST = hashlib.sha256().digest_size


class StoredWeights(NamedTuple):
    """A trained network.

    Attributes:
      architecture: Architecture in its space's format.
      steps: Budget of its training; 0 if the search has no budgets.
      variables: Params and other variables, nested dicts of arrays.
    """

    architecture: Any
    steps: int
    variables: Any


def save_weights(folder: pathlib.Path, number: int, stored: StoredWeights) -> None:
    """Writes the weights of a trial atomically; they are on disk on return.

    Args:
      folder: Folder of the search's weights; created if missing.
      number: Number of the trial.
      stored: What to write; the architecture is JSON data.
    """
    content = serialization.msgpack_serialize(
        {
            "architecture": json.dumps(stored.architecture),
            "steps": stored.steps,
            "variables": jax.tree.map(np.asarray, stored.variables),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(_path(folder, number), hashlib.sha256(content).digest() + content)


def load_weights(folder: pathlib.Path, number: int) -> StoredWeights:
    """Reads the weights of a trial.

    Raises:
      UserError: If the file is missing or damaged.
    """
    path = _path(folder, number)
    with explained("workdir", str(folder), f"the folder of the search, with {path.name}", OSError):
        raw = path.read_bytes()
    digest, content = raw[:_DIGEST], raw[_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise UserError("workdir", str(path), "a file as it was written; this one is damaged")
    found = serialization.msgpack_restore(content)
    return StoredWeights(
        tuples(json.loads(found["architecture"])), found["steps"], found["variables"]
    )


def _path(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"trial_{number}.msgpack"
