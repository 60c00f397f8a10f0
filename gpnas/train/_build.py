"""Builds the network and the task of a config, and traces their shapes and units."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gpnas import models, plugins
from gpnas.errors import UserError, brief, check_choice
from gpnas.methods import find_method
from gpnas.models import Model, resolve_conv
from gpnas.train.task import TASKS, Task
from gpnas.units import UnitGroups, discover, output_layers, with_blocks

_NO_FIELDS = ("name", "dtype", "conv", "axes")  # of the section `model`


def build_task(config: ConfigDict, model: Model) -> Task:
    """Builds the task of a config's `task` section for a network.

    Args:
      config: The section.
      model: The network.

    Raises:
      UserError: For an unknown name or field.
    """
    settings = config.to_dict()
    name = settings.pop("name")
    make = plugins.find("task.name", name, TASKS, Task)
    settings = plugins.check_settings("task", name, make, settings, ("model",))
    allowed = "fields from which a task can be built"
    made = plugins.call_user("task", config.to_dict(), allowed, make, model, **settings)
    return plugins.check_made("task.name", name, made, Task)


def build_model(
    config: ConfigDict,
    num_classes: int,
    axis_name: str | None = None,
    architecture: Mapping[str, Any] | None = None,
) -> Model:
    """Builds the network of a config's `model` section.

    Args:
      config: The section.
      num_classes: Number of classes, for a constructor with this argument.
      axis_name: Name of the mapped device axis, for a constructor with this argument.
      architecture: The same network with other widths, see `gpnas.models.from_architecture`.

    Raises:
      UserError: For an unknown name, field or dtype.
    """
    make, adapt = models.find_network("model.name", config.name)
    known = plugins.parameters_of(make)
    own = [p for p in known if p not in models.BY_THE_RUN]
    fields = {k: v for k, v in config.items() if k not in _NO_FIELDS}
    if architecture is not None:
        if architecture["model"] in models.MODELS:
            place = {"dtype": jnp.dtype(config.dtype), "conv": conv_kind(config)}
            network = models.from_architecture(architecture, axis_name=axis_name, **place)
            return models.linen(network)
        fields |= {k: v for k, v in architecture["fields"].items() if k in own}
    for name, value in fields.items():
        if name not in own:
            raise UserError(f"model.{name}", value, f"a field of {config.name}: {', '.join(own)}")
        if config.name in models.MODELS and name in ("width", "widths"):
            models.check_widths(f"model.{name}", value)
    check_choice("model.dtype", config.dtype, ("float32", "bfloat16", "float16"))
    given = {
        "conv": conv_kind(config),
        "axis_name": axis_name,
        "num_classes": num_classes,
        "dtype": jnp.dtype(config.dtype),
    }
    fields |= {name: value for name, value in given.items() if name in known}
    fields = models.with_widths(fields, {})
    allowed = "fields from which a network can be built"
    return plugins.call_user("model", config.to_dict(), allowed, adapt, make, **fields)


def constructor_arguments(config: ConfigDict, num_classes: int) -> dict[str, Any]:
    """Returns the JSON-compatible constructor arguments: from the config, else the defaults."""
    parameters = plugins.parameters_of(models.find_network("model.name", config.name)[0])
    known = {n: config.get(n, p.default) for n, p in parameters.items() if n not in _NO_FIELDS}
    known |= {"num_classes": num_classes} if "num_classes" in known else {}
    by_the_run = set(models.BY_THE_RUN) - {"num_classes"}
    return {n: v for n, v in known.items() if n not in by_the_run and _is_json(v)}


def _is_json(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    return value is None or isinstance(value, bool | int | float | str)


def conv_kind(config: ConfigDict) -> str:
    """Returns the implementation of convolutions that `model.conv` selects on this machine.

    Raises:
      UserError: For an unknown implementation.
    """
    check_choice("model.conv", config.conv, ("auto", "im2col", "xla"))
    return resolve_conv(config.conv)


def discover_units(model: Model, variables: Any, inputs: jax.ShapeDtypeStruct) -> UnitGroups:
    """Returns the unit groups of a network in inference, and its removable blocks.

    Args:
      model: The network.
      variables: Variables of the network or their shapes.
      inputs: Shape and dtype of the input for one example.
    """
    found = UnitGroups((), ())
    if models.has_widths(model.module):
        batch = jax.ShapeDtypeStruct((2, *inputs.shape), inputs.dtype)
        found = discover(model.infer, variables, batch)
    return with_blocks(found, variables, models.removable_blocks(model.module))


def output_paths(
    method: str, model: Model, variables: Any, inputs: jax.ShapeDtypeStruct
) -> list[str]:
    """Returns the paths of the output layers' weights in the params, if the method asks for them.

    Args:
      method: Name of the method.
      model, variables, inputs: As for `discover_units`.
    """
    if "output_layers" not in plugins.parameters_of(find_method(method)):
        return []
    batch = jax.ShapeDtypeStruct((1, *inputs.shape), inputs.dtype)
    found = output_layers(model.infer, variables, batch)
    return [path.removeprefix("params/") for path in found if path.startswith("params/")]


def shapes_of(task: Task, config: ConfigDict, one: jax.ShapeDtypeStruct) -> Any:
    """Returns the shapes of the network's variables.

    Args:
      task: The task.
      config: Section `model` of the config, for the message.
      one: Shape and dtype of one example's inputs.

    Raises:
      UserError: If the network cannot be initialised for these inputs; names the invalid field.
    """

    def init(*shape: int) -> Any:
        inputs = jax.ShapeDtypeStruct((1, *shape), one.dtype)
        return dict(jax.eval_shape(lambda x: task.init(jax.random.key(0), x), inputs))

    try:
        return init(*one.shape)
    except Exception as error:  # user code may raise anything
        size, said = " × ".join(map(str, one.shape)), brief(error)
    is_image = len(one.shape) == 3
    try:
        init(32, 32, *one.shape[2:]) if is_image else init(*one.shape)
    except Exception as error:
        allowed = f"fields of a network for inputs of shape {one.shape} ({said})"
        raise UserError("model", config.to_dict(), allowed) from error
    raise UserError(
        "model.name",
        config.name,
        f"a network for images of {size}; data.image_size makes them larger",
    )
