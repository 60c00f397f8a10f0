"""A network as JSON and safetensors: what it is, and its arrays; no training code, no pickle."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from gpnas._files import sealed, write_bytes, write_json
from gpnas.deploy.describe import Description, digest, metadata_of, read_sealed
from gpnas.deploy.formats import Apply, inference
from gpnas.errors import UserError, brief
from gpnas.models import build


def save_network(
    path: pathlib.Path,
    architecture: Mapping[str, Any],
    variables: Any,
    mean: Iterable[float] = (0.0,),
    std: Iterable[float] = (1.0,),
    description: Description | None = None,
) -> None:
    """Writes NAME.json and, beside it, NAME.safetensors.

    Args:
      path: Of the JSON file.
      architecture: As `gpnas.models.architecture` gives it.
      variables: Nested dicts of arrays.
      mean, std: Of each channel, pixels being 0 to 1: images are standardised by them.
      description: Class names and image shape, for both files.
    """
    from safetensors.numpy import save

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


def load_network(path: pathlib.Path) -> tuple[Apply, Any]:
    """Reads what `save_network` wrote.

    Args:
      path: Of the JSON file.

    Returns:
      `(apply, variables)`; `apply(variables, images)` takes pixels, 0 to 255, float32.

    Raises:
      UserError: If one of the files is missing, is not such a file, or has changed.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    known = read_sealed(path)
    try:
        weights = path.with_name(pathlib.PurePath(known["weights"]).name)
        content = weights.read_bytes()
        mean, std = (np.asarray(known[name], np.float32) for name in ("mean", "std"))
    except (OSError, ValueError, LookupError, TypeError) as error:
        allowed = f"an architecture's JSON with its weights beside it ({error})"
        raise UserError("file", str(path), allowed) from error
    if digest(content) != known.get("sha256"):
        raise UserError("file", str(weights), "weights as they were written; these have changed")
    try:
        module = build(known, dtype=jnp.float32, conv="xla")
        arrays = load(content)
    except UserError:
        raise
    except (SafetensorError, LookupError, TypeError, ValueError) as error:
        allowed = f"an architecture's JSON with its weights beside it ({brief(error)})"
        raise UserError("file", str(path), allowed) from error
    variables = traverse_util.unflatten_dict(arrays, sep="/")
    return of_pixels(inference(module), mean, std), jax.tree.map(jnp.asarray, variables)


def of_pixels(apply: Apply, mean: Any, std: Any) -> Apply:
    """The network on pixels, 0 to 255: standardised as in training, inside the function.

    Args:
      apply: The network on standardised images.
      mean, std: (channels,) float32, of pixels from 0 to 1.
    """
    centre, scale = np.float32(255) * np.asarray(mean), 1 / (255 * np.asarray(std))

    def standardised(variables: Any, images: jax.Array) -> jax.Array:
        # A whole row at once: onnxruntime takes ten times as long to spread single numbers.
        rows = [np.broadcast_to(x, images.shape[2:]).astype(np.float32) for x in (centre, scale)]
        return apply(variables, (images - rows[0]) * rows[1])

    return standardised
