"""How a network is called: in one place for training, evaluation and everything that looks inside.

A module's `__call__` takes the images, and whichever of `train`, `training` and `deterministic` it
has as a parameter. One that has none of them computes the same in training and evaluation.
"""

import inspect
import zlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

_DROPOUT = zlib.crc32(b"dropout")


def init(module: nn.Module, key: jax.Array, images: jax.Array) -> dict[str, Any]:
    """The variables of a network, drawn from `key`; images (batch, height, width, channels)."""
    return dict(module.init(key, images, **_mode(module, train=False)))


def infer(module: nn.Module, variables: Mapping[str, Any], images: jax.Array) -> Any:
    """The outputs of a network in evaluation: (batch, classes) logits of a network that trains."""
    return module.apply(variables, images, **_mode(module, train=False))


def forward(
    module: nn.Module, variables: Mapping[str, Any], images: jax.Array, key: jax.Array
) -> tuple[Any, dict[str, Any]]:
    """The outputs of a network in training.

    Args:
      module: The network.
      variables: Its variables.
      images: (batch, height, width, channels).
      key: Of all that the network draws, whatever it calls its random streams: Flax takes the
        stream "params" for those that are not given.

    Returns:
      `(outputs, collections)`, the latter all but "params", as they are after the step.
    """
    others = [name for name in variables if name != "params"]
    rngs = {"params": key, "dropout": jax.random.fold_in(key, _DROPOUT)}
    mode = _mode(module, train=True)
    outputs, new = module.apply(variables, images, rngs=rngs, mutable=others, **mode)
    return outputs, dict(new)


def _mode(module: nn.Module, *, train: bool) -> dict[str, Any]:
    parameters = inspect.signature(type(module).__call__).parameters
    modes = {"train": train, "training": train, "deterministic": not train}
    known = {name: value for name, value in modes.items() if name in parameters}
    passes_on = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return known or ({"train": train} if passes_on else {})
