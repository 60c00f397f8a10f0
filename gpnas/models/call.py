"""Calling convention of modules in training and evaluation.

A module's `__call__` is passed the images, and those of the arguments `train`, `training` and
`deterministic` that it declares (`nn.Sequential`: its first layer). A module without any of them
behaves the same in training and evaluation.
"""

import inspect
import zlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

_DROPOUT = zlib.crc32(b"dropout")


def init(module: nn.Module, key: jax.Array, images: jax.Array) -> dict[str, Any]:
    """Initializes a network; images are (batch, height, width, channels)."""
    return dict(module.init(key, images, **_mode(module, train=False)))


def infer(module: nn.Module, variables: Mapping[str, Any], images: jax.Array) -> Any:
    """Applies a network in evaluation mode; returns (batch, classes) logits."""
    return module.apply(variables, images, **_mode(module, train=False))


def forward(
    module: nn.Module, variables: Mapping[str, Any], images: jax.Array, key: jax.Array
) -> tuple[Any, dict[str, Any]]:
    """Applies a network in training mode.

    Args:
      module: The network.
      variables: Its variables.
      images: (batch, height, width, channels).
      key: Key of all random streams: Flax derives streams that are not given from "params".

    Returns:
      `(outputs, collections)`, the updated collections except "params".
    """
    others = [name for name in variables if name != "params"]
    rngs = {"params": key, "dropout": jax.random.fold_in(key, _DROPOUT)}
    mode = _mode(module, train=True)
    outputs, new = module.apply(variables, images, rngs=rngs, mutable=others, **mode)
    return outputs, dict(new)


def _mode(module: Any, *, train: bool) -> dict[str, Any]:
    while isinstance(module, nn.Sequential) and module.layers:
        module = module.layers[0]  # which receives all keyword arguments
    if not isinstance(module, nn.Module):  # a function, as `nn.relu`
        return {}
    parameters = inspect.signature(type(module).__call__).parameters
    modes = {"train": train, "training": train, "deterministic": not train}
    known = {name: value for name, value in modes.items() if name in parameters}
    passes_on = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return known or ({"train": train} if passes_on else {})
