"""A network as JSON (architecture) and safetensors (weights), without pickle."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from gpnas._files import PathLike, sealed, write_bytes, write_json
from gpnas.deploy._describe import Description, digest, metadata_of, read_sealed
from gpnas.deploy._formats import Apply, inference
from gpnas.errors import UserError, explained
from gpnas.models import MODELS, from_architecture


def save_network(
    path: PathLike,
    architecture: Mapping[str, Any],
    variables: Any,
    mean: Iterable[float] = (0.0,),
    std: Iterable[float] = (1.0,),
    description: Description | None = None,
) -> None:
    """Writes NAME.json and, beside it, NAME.safetensors.

    Args:
      path: Path of the JSON file.
      architecture: An architecture from `gpnas.models.architecture`.
      variables: Nested dicts of arrays.
      mean, std: Standardization of each channel, for pixels from 0 to 1.
      description: Class names and image shape, for both files.

    Raises:
      UserError: If the name does not end in .json.
    """
    from safetensors.numpy import save

    path = pathlib.Path(path)
    if path.suffix != ".json":
        raise UserError("path", str(path), "a name that ends in .json")
    flat = traverse_util.flatten_dict(variables, sep="/")
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in flat.items()}
    content = save(arrays, metadata_of(description) if description else None)
    weights = path.with_suffix(".safetensors")
    write_bytes(weights, content)
    known = dict(architecture) | {
        "mean": [float(x) for x in mean],
        "std": [float(x) for x in std],
        "weights": weights.name,
        "sha256": digest(content),
    }
    if description:
        known |= {name: list(value) for name, value in description._asdict().items()}
    write_json(path, sealed(known))


def load_network(path: PathLike) -> tuple[Apply, Any]:
    """Loads a network written by `save_network`.

    Args:
      path: Path of the JSON file.

    Returns:
      `(apply, variables)`; `apply(variables, images)` takes pixels from 0 to 255, float32.

    Raises:
      UserError: If a file is missing, invalid, or has changed.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = pathlib.Path(path)
    known, allowed = read_sealed(path), "an architecture's JSON with its weights beside it"
    with explained("file", str(path), allowed, OSError, ValueError, LookupError, TypeError):
        weights = path.with_name(pathlib.PurePath(known["weights"]).name)
        content = weights.read_bytes()
        mean, std = (np.asarray(known[name], np.float32) for name in ("mean", "std"))
    if digest(content) != known.get("sha256"):
        raise UserError("file", str(weights), "weights as they were written; these have changed")
    if known.get("model") not in MODELS:  # a data file must not cause imports of code
        raise UserError("file", str(path), f"a network of gpnas.models: {', '.join(MODELS)}")
    with explained("file", str(path), allowed, SafetensorError, LookupError, TypeError, ValueError):
        module = from_architecture(known, dtype=jnp.float32, conv="xla")
        arrays = load(content)
    variables = traverse_util.unflatten_dict(arrays, sep="/")
    return on_pixels(inference(module), mean, std), jax.tree.map(jnp.asarray, variables)


def on_pixels(apply: Apply, mean: Any, std: Any) -> Apply:
    """Converts a network to take pixels from 0 to 255, standardized inside the function.

    Args:
      apply: The network on standardized images.
      mean, std: (channels,) float32, for pixels from 0 to 1.
    """
    centre, scale = np.float32(255) * np.asarray(mean), 1 / (255 * np.asarray(std))

    def standardized(variables: Any, images: jax.Array) -> jax.Array:
        # Constants have the shape of a row, since onnxruntime broadcasts scalars ten times slower.
        rows = [np.broadcast_to(x, images.shape[2:]).astype(np.float32) for x in (centre, scale)]
        return apply(variables, (images - rows[0]) * rows[1])

    return standardized
