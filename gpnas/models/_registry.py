"""Architectures as JSON: the name of a network and its fields, from which it is built."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import nnx

from gpnas import plugins
from gpnas._files import lists
from gpnas.errors import UserError
from gpnas.models._cellnet import ALL_OPERATIONS, CellNet, prefix
from gpnas.models._convnet import ConvNet
from gpnas.models._lenet import LeNet5, LeNet300
from gpnas.models._model import Model, from_equinox, from_nnx, linen
from gpnas.models._resnet import STAGES, ResNet
from gpnas.models._widths import with_widths

#: Networks that are built from settings only, by name.
MODELS: Mapping[str, type[nn.Module]] = {
    "cellnet": CellNet,
    "convnet": ConvNet,
    "lenet300": LeNet300,
    "lenet5": LeNet5,
    "resnet": ResNet,
}
#: Arguments of networks' constructors that the run sets, not the config.
BY_THE_RUN = ("parent", "name", "num_classes", "axis_name", "rngs", "key")
_FIXED = (CellNet,)  # their fields do not determine the width of each layer
_PLACE = ("parent", "name", "dtype", "conv", "axis_name")  # fields of the computation


def architecture(module: nn.Module | None, params: Any) -> dict[str, Any]:
    """Describes a network by the shapes of its arrays, which may be smaller than its fields.

    Args:
      module: A network of `MODELS`.
      params: Its parameters or shapes, possibly without some units and blocks.

    Returns:
      `{"model": name, "fields": {…}}` of JSON types, for `from_architecture`.

    Raises:
      UserError: If the network is not one of `MODELS`.
    """
    name = _name(module)
    fields = {
        f.name: getattr(module, f.name)
        for f in dataclasses.fields(MODELS[name])
        if f.init and f.name not in _PLACE
    }
    fields |= _WIDTHS[name](module, params)
    return {"model": name, "fields": {k: lists(v) for k, v in fields.items()}}


def from_architecture(architecture: Mapping[str, Any], **place: Any) -> nn.Module:
    """Builds the Flax module of an architecture.

    Args:
      architecture: An architecture from `architecture` or from a run, possibly read from JSON; a
        model `module:name` is imported.
      **place: `dtype`, `conv` or `axis_name`, used if the network has such a field.

    Raises:
      UserError: For an unknown network or field, or a width below 1.
    """
    name, fields = str(architecture.get("model")), dict(architecture.get("fields", {}))
    make = plugins.find("model", name, MODELS, nn.Module)
    known = [p for p in plugins.parameters_of(make) if p not in ("parent", "name")]
    for field, value in fields.items():
        if field not in known or field in _PLACE:
            allowed = ", ".join(p for p in known if p not in _PLACE)
            raise UserError(f"fields.{field}", value, allowed)
        if name in MODELS and field != "operations":  # checked by the network
            check_widths(f"fields.{field}", value, 0 if field == "inner" else 1)
    place = {k: v for k, v in place.items() if k in known}
    return make(**with_widths(fields, {}), **place)


def find_network(field: str, name: str) -> tuple[Callable[..., Any], Callable[..., Model]]:
    """Finds a network by name: of `MODELS`, or `module:name` of Linen, NNX, Equinox or a `Model`.

    Args:
      field: The config's field, for messages.
      name: The name.

    Returns:
      `(constructor, adaptor)`; the adaptor converts the constructor and its fields to a `Model`.

    Raises:
      UserError: If it does not exist or is of another kind.
    """
    make = plugins.find(field, name, MODELS)

    def made(kind: type, make: Callable[..., Any], **fields: Any) -> Any:
        return plugins.check_made(field, name, make(**fields), kind)

    kinds: dict[type, Callable[..., Model]] = {
        nn.Module: lambda make, **fields: linen(made(nn.Module, make, **fields)),
        nnx.Module: lambda make, **fields: from_nnx(
            lambda rngs: made(nnx.Module, make, rngs=rngs, **fields)
        ),
        Model: functools.partial(made, Model),
    }
    equinox = sys.modules.get("equinox")  # already imported if the network uses Equinox
    if equinox is not None:
        kinds[equinox.Module] = lambda make, **fields: from_equinox(
            lambda key: make(key=key, **fields)
        )
    return make, kinds[plugins.check_makes(field, name, make, tuple(kinds))]


def is_known(module: nn.Module | None) -> bool:
    """Returns whether a module is one of `MODELS`, so that it has an architecture."""
    return type(module) in MODELS.values()


def has_widths(module: nn.Module | None) -> bool:
    """Returns whether a network's fields determine each layer's width; True for other modules."""
    return type(module) not in _FIXED


def removable_blocks(module: nn.Module | None) -> dict[str, tuple[str, str]]:
    """Returns parts of a network that can be removed, which leaves the identity.

    Returns:
      `{name: (glob of all its leaves, glob of leaves whose zeros make its output zero)}`; empty for
      networks without such parts.
    """
    find = _BLOCKS.get(_name(module)) if is_known(module) else None
    return find(module) if find else {}


def check_widths(field: str, value: Any, least: int = 1) -> None:
    """Raises `UserError` unless a value is a whole number of at least `least`, or several."""
    numbers = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(n, int) and n >= least for n in numbers):
        raise UserError(field, value, f"whole numbers from {least}")


def _name(module: nn.Module | None) -> str:
    for name, kind in MODELS.items():
        if type(module) is kind:
            return name
    raise UserError("model", type(module).__name__, ", ".join(MODELS))


def _last(params: Any, *path: str) -> int:
    for name in path:
        params = params[name]
    return int(jnp.shape(params["kernel"])[-1])


def _named(*names: str) -> Callable[[Any, Any], dict[str, Any]]:
    return lambda module, params: {"widths": [_last(params, name) for name in names]}


def _resnet(module: Any, params: Any) -> dict[str, Any]:
    shortcuts = [f"stage{stage}_block0_shortcut" for stage in range(1, STAGES)]
    names = removable_blocks(module)
    return {
        "streams": [_last(params, "stem"), *(_last(params, name) for name in shortcuts)],
        "inner": [_last(params, name, "conv1") if name in params else 0 for name in names],
    }


def _residual(module: Any) -> dict[str, tuple[str, str]]:
    names = [f"stage{s}_block{b}" for s in range(STAGES) for b in range(module.blocks)]
    return {name: (f"*/{name}/*", f"*/{name}/norm2/*") for name in names}


def _cellnet(module: Any, params: Any) -> dict[str, Any]:
    cell = params["stage0_cell0"]
    here = [list(chosen) for chosen in ALL_OPERATIONS if f"{prefix(chosen)}_strength" in cell]
    return {"channels": _last(params, "stem", "conv"), "operations": here}


def _edges(module: Any) -> dict[str, tuple[str, str]]:
    names = [prefix(chosen) for chosen in module.operations]
    return {name: (f"*/{name}[_/]*", f"*/{name}_strength") for name in names}


_BLOCKS: Mapping[str, Callable[[Any], dict[str, tuple[str, str]]]] = {
    "cellnet": _edges,
    "resnet": _residual,
}
_WIDTHS: Mapping[str, Callable[[Any, Any], dict[str, Any]]] = {
    "cellnet": _cellnet,
    "convnet": _named("conv1", "conv2", "conv3", "hidden"),
    "lenet300": lambda module, params: {
        "widths": [_last(params, f"Dense_{i}") for i in range(len(module.widths))]
    },
    "lenet5": _named("Conv_0", "Conv_1", "Dense_0"),
    "resnet": _resnet,
}
