"""Architectures as JSON: a network's name and its fields, of which the plain module is built."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gpnas.errors import UserError
from gpnas.models.cellnet import EVERY, CellNet, part
from gpnas.models.lenet import LeNet5, LeNet300
from gpnas.models.resnet import STAGES, ResNet

MODELS: Mapping[str, type[nn.Module]] = {
    "cellnet": CellNet,
    "lenet300": LeNet300,
    "lenet5": LeNet5,
    "resnet": ResNet,
}
_FIXED = (CellNet,)  # whose fields cannot say the width of each layer
_PLACE = ("parent", "name", "dtype", "conv", "axis_name")  # where and how it runs, not what it is


def architecture(module: nn.Module, params: Any) -> dict[str, Any]:
    """What a network is, as its arrays have it: their widths count, not the module's fields.

    Args:
      module: A network of `MODELS`.
      params: Its parameters or their shapes, perhaps with units and blocks left out.

    Returns:
      `{"model": name, "fields": {…}}`, of JSON's types, for `build`.

    Raises:
      UserError: If the network is not one of `MODELS`.
    """
    name = _name(module)
    fields = {
        f.name: getattr(module, f.name)
        for f in dataclasses.fields(module)
        if f.init and f.name not in _PLACE
    }
    fields |= _WIDTHS[name](module, params)
    return {"model": name, "fields": {k: _lists(v) for k, v in fields.items()}}


def build(architecture: Mapping[str, Any], **place: Any) -> nn.Module:
    """The plain Flax module of an architecture.

    Args:
      architecture: As `architecture` gives it, or as it came back from JSON.
      **place: `dtype`, `conv` or `axis_name`, where the network has such a field.

    Raises:
      UserError: For a network or a field that there is not, or a width below 1.
    """
    name, fields = str(architecture.get("model")), dict(architecture.get("fields", {}))
    if name not in MODELS:
        raise UserError("model", name, ", ".join(MODELS))
    known = [p for p in inspect.signature(MODELS[name]).parameters if p not in ("parent", "name")]
    for field, value in fields.items():
        if field not in known or field in _PLACE:
            allowed = ", ".join(p for p in known if p not in _PLACE)
            raise UserError(f"fields.{field}", value, allowed)
        if field != "operations":  # which the network itself checks
            _check_widths(field, value)
    fields = {k: _tuples(v) for k, v in fields.items()}
    return MODELS[name](**fields, **{k: v for k, v in place.items() if k in known})


def is_known(module: nn.Module) -> bool:
    """Whether a network can be written down as an architecture."""
    return type(module) in MODELS.values()


def has_widths(module: nn.Module) -> bool:
    """Whether a network can be built with any number of units in each layer; one's own may."""
    return type(module) not in _FIXED


def blocks(module: nn.Module) -> dict[str, tuple[str, str]]:
    """Parts of a network that may be missing: what goes on without them is the identity.

    Returns:
      `{name: (glob over all its leaves, glob over those whose zeros are enough to silence it)}`;
      empty for networks without such parts.
    """
    return _BLOCKS[_name(module)](module) if is_known(module) else {}


def _check_widths(field: str, value: Any) -> None:
    least = 0 if field == "inner" else 1
    numbers = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(n, int) and n >= least for n in numbers):
        raise UserError(f"fields.{field}", value, f"whole numbers from {least}")


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _lists(value: Any) -> Any:
    return list(map(_lists, value)) if isinstance(value, list | tuple) else value


def _name(module: nn.Module) -> str:
    for name, kind in MODELS.items():
        if type(module) is kind:
            return name
    raise UserError("model", type(module).__name__, ", ".join(MODELS))


def _last(params: Any, *path: str) -> int:
    for name in path:
        params = params[name]
    return int(jnp.shape(params["kernel"])[-1])


def _lenet300(module: Any, params: Any) -> dict[str, Any]:
    return {"widths": [_last(params, f"Dense_{i}") for i in range(len(module.widths))]}


def _lenet5(module: Any, params: Any) -> dict[str, Any]:
    return {"widths": [_last(params, name) for name in ("Conv_0", "Conv_1", "Dense_0")]}


def _resnet(module: Any, params: Any) -> dict[str, Any]:
    shortcuts = [f"stage{stage}_block0_shortcut" for stage in range(1, STAGES)]
    names = blocks(module)
    return {
        "streams": [_last(params, "stem"), *(_last(params, name) for name in shortcuts)],
        "inner": [_last(params, name, "conv1") if name in params else 0 for name in names],
    }


def _residual(module: Any) -> dict[str, tuple[str, str]]:
    names = [f"stage{s}_block{b}" for s in range(STAGES) for b in range(module.blocks)]
    return {name: (f"*/{name}/*", f"*/{name}/norm2/*") for name in names}


def _cellnet(module: Any, params: Any) -> dict[str, Any]:
    cell = params["stage0_cell0"]
    here = [list(chosen) for chosen in EVERY if f"{part(chosen)}_strength" in cell]
    return {"channels": _last(params, "stem", "conv"), "operations": here}


def _edges(module: Any) -> dict[str, tuple[str, str]]:
    names = [part(chosen) for chosen in module.operations]
    return {name: (f"*/{name}[_/]*", f"*/{name}_strength") for name in names}


_BLOCKS: Mapping[str, Callable[[Any], dict[str, tuple[str, str]]]] = {
    "cellnet": _edges,
    "lenet300": lambda module: {},
    "lenet5": lambda module: {},
    "resnet": _residual,
}
_WIDTHS: Mapping[str, Callable[[Any, Any], dict[str, Any]]] = {
    "cellnet": _cellnet,
    "lenet300": _lenet300,
    "lenet5": _lenet5,
    "resnet": _resnet,
}
