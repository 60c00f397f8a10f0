"""The plan of a run: everything that is decided before the first step, and what it will cost."""

import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from gpnas import models, plugins
from gpnas.data import Dataset, require_kind
from gpnas.errors import UserError, brief
from gpnas.methods import Method, build, duration, find_method, needs_unit_groups
from gpnas.models import MODELS, call, network_macs, resolve_conv
from gpnas.train._axes import layers_of, table_of, with_axes
from gpnas.train._forecast import expected, mask_updates
from gpnas.train._network import check_network
from gpnas.train._optimizer import build_gate_optimizer, build_optimizer
from gpnas.train._step import init_state, make_step
from gpnas.units import Macs, UnitGroups, discover, with_blocks

_STEPS_OF_FEW = 8  # an epoch of fewer training images than train.batch_size
_MISFITS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_MOST_STEPS = 2**31 - 2**20  # of a run; int32, with room for what is counted from its end


class Plan(NamedTuple):
    """A run before it starts.

    Attributes:
      module: The network.
      method: The method.
      tx, gate_tx: The optimizer of the weights, wrapped by the method, and of the gates.
      image_shape: (height, width, channels).
      macs: MACs for one image.
      batch_size: Images per step; below `train.batch_size` where that exceeds the training images.
      steps_per_epoch, total_steps: Steps.
      loop: "scan" or "steps".
      durations: Of the method, in steps (`patience`: evaluations), as "auto" and percentages came
        out.
      expected: Cost before the run, see `gpnas.train._forecast.expected`.
      variables: Shapes of the network's variables.
      groups: Its units, if the method develops units.
    """

    module: nn.Module
    method: Method
    tx: optax.GradientTransformation
    gate_tx: optax.GradientTransformation
    image_shape: tuple[int, ...]
    macs: Macs
    batch_size: int
    steps_per_epoch: int
    total_steps: int
    loop: str
    durations: dict[str, int]
    expected: dict[str, float]
    variables: Any
    groups: UnitGroups | None


def make_plan(
    config: ConfigDict,
    data: Dataset,
    architecture: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Plan:
    """Decides everything that a config says about a run on these images, and checks it.

    Args:
      config: The config.
      data: The images.
      architecture: The network (see `models.from_architecture`), if it is not the config's own.
      sizes: `{group: units}` of the config's own network, if it is not that.

    Raises:
      UserError: If any config field is invalid.
    """
    require_kind(data, ("image", "features"), ("class",))
    batch_size = _batch_size(config.train, len(data.train))
    steps_per_epoch = len(data.train) // batch_size
    total_steps = steps_per_epoch * config.train.epochs
    axis = "data" if config.train.parallel == "pmap" else None
    if total_steps > _MOST_STEPS:
        allowed = f"at most {_MOST_STEPS // steps_per_epoch}: steps are counted in 32 bits"
        raise UserError("train.epochs", config.train.epochs, allowed)
    module = build_model(config.model, data.num_classes, axis)
    if architecture is not None:
        place = {"dtype": jnp.dtype(config.model.dtype), "conv": conv_kind(config.model)}
        module = models.from_architecture(architecture, axis_name=axis, **place)
    shape = data.input_shape
    variables = _variables(module, config.model, shape)
    check_network(config.model.name, module, variables, shape, data.num_classes, axis)
    params = variables["params"]
    macs = network_macs(module, variables, shape)
    settings = config.method.to_dict()
    evaluations = -(-config.train.epochs // config.train.eval_every)
    parameters = plugins.parameters_of(find_method(settings["name"]))
    durations = duration.resolve(settings, parameters, total_steps, evaluations)
    axes = table_of(config.model.get("axes", {}))
    layers = layers_of(params, axes)
    sided = any(a.in_axis is not None or a.out_axis is not None for a in axes.values())
    if sided and "allocation" in parameters and "allocation" not in settings:
        allowed = "a value, where model.axes has in_axis or out_axis: defaults do not know them"
        raise UserError("method.allocation", None, allowed)
    groups = None
    if needs_unit_groups(settings["name"]):
        groups = units_of(module, variables, shape)
        sizes = sizes or {group.name: group.size for group in groups.groups}
    method = build(
        settings,
        total_steps=total_steps,
        batch_size=batch_size,
        evaluations=evaluations,
        images=len(data.train),
        classes=data.num_classes,
        shapes=layers.shapes,
        axes=layers.axes,
        macs={
            name: macs.per_weight[path]
            for name, path in layers.whole.items()
            if path in macs.per_weight
        },
        params=params,
        groups=groups,
        sizes=sizes,
    )
    if axes:
        allowed = "none for a method that develops units, has gates or trains several times"
        if groups is not None or method.gates.reads_network or method.trainings > 1:
            raise UserError("model.axes", config.model.axes.to_dict(), allowed)
        method = method._replace(transform=with_axes(method.transform, axes))
    _check_trainings(config.train, method.trainings)
    schedule_steps = total_steps // method.trainings
    tx = method.wrap(build_optimizer(config.optimizer, schedule_steps))
    gate_tx = build_gate_optimizer(config, schedule_steps)
    inputs = (batch_size, *shape)
    _check_step(config.method.name, module, method, tx, gate_tx, inputs, axis)
    images = total_steps * batch_size
    convolves = any(len(s) > 2 for s in layers.shapes.values()) and conv_kind(config.model) == "xla"
    slow_in_loops = convolves and jax.default_backend() == "cpu"
    auto = "steps" if slow_in_loops else "scan"
    loop = auto if config.train.loop == "auto" else config.train.loop
    updates = mask_updates(method, durations, total_steps, evaluations)
    weights = sum(math.prod(shape) for shape in layers.shapes.values())
    cost = expected(method, params, weights, macs, total_steps, images, updates)
    return Plan(
        module, method, tx, gate_tx, shape, macs, batch_size, steps_per_epoch, total_steps, loop,
        durations, cost, variables, groups,
    )  # fmt: skip


def build_model(config: ConfigDict, num_classes: int, axis_name: str | None = None) -> nn.Module:
    """The network of a config's `model` section.

    Raises:
      UserError: For an unknown name, field or dtype.
    """
    model = plugins.find("model.name", config.name, MODELS, nn.Module)
    known = inspect.signature(model).parameters
    own = [p for p in known if p not in ("parent", "name", "num_classes", "axis_name")]
    fields = {k: v for k, v in config.items() if k not in ("name", "dtype", "conv", "axes")}
    for name, value in fields.items():
        if name not in own:
            raise UserError(f"model.{name}", value, f"a field of {config.name}: {', '.join(own)}")
    if config.dtype not in ("float32", "bfloat16", "float16"):
        raise UserError("model.dtype", config.dtype, "float32, bfloat16, float16")
    given = {
        "conv": conv_kind(config),
        "axis_name": axis_name,
        "num_classes": num_classes,
        "dtype": jnp.dtype(config.dtype),
    }
    fields |= {name: value for name, value in given.items() if name in known}
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    try:
        return model(**fields)
    except UserError:
        raise
    except Exception as error:  # a constructor is a program: it may raise anything
        allowed = f"fields of which a network can be made ({brief(error)})"
        raise UserError("model", config.to_dict(), allowed) from error


def units_of(module: nn.Module, variables: Any, image_shape: tuple[int, ...]) -> UnitGroups:
    """The units of a network as it is used for inference, and its blocks.

    Args:
      module: The network.
      variables: Its variables or their shapes.
      image_shape: (height, width, channels).
    """
    found = UnitGroups((), ())
    if models.has_widths(module):
        images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
        found = discover(functools.partial(call.infer, module), variables, images)
    return with_blocks(found, variables, models.removable_blocks(module))


def conv_kind(config: ConfigDict) -> str:
    """Which convolution a config's `model` section means on this machine.

    Raises:
      UserError: For an unknown one.
    """
    if config.conv not in ("auto", "im2col", "xla"):
        raise UserError("model.conv", config.conv, "auto, im2col, xla")
    return resolve_conv(config.conv)


def _variables(module: nn.Module, config: ConfigDict, shape: tuple[int, ...]) -> Any:
    """Shapes of the network's variables; says whether its fields or the images cannot be."""

    def init(*shape: int) -> Any:
        inputs = jnp.zeros((1, *shape))
        return jax.eval_shape(lambda: call.init(module, jax.random.key(0), inputs))

    try:
        return init(*shape)
    except Exception as error:  # a network is a program: it may raise anything
        size, said = " × ".join(map(str, shape)), brief(error)
    try:
        init(32, 32, *shape[2:]) if len(shape) == 3 else init(*shape)
    except Exception as error:
        raise UserError(
            "model", config.to_dict(), f"fields of which a network can be made ({said})"
        ) from error
    raise UserError(
        "model.name", config.name, f"one for images of {size}; data.image_size makes them larger"
    )


def _check_step(
    name: str,
    module: nn.Module,
    method: Method,
    tx: Any,
    gate_tx: Any,
    shape: tuple[int, ...],
    axis: str | None,
) -> None:
    """Traces a step if the method may look into the network: whether it can be seen there."""
    if not method.gates.reads_network and method.hooks.on_eval is None:
        return
    step = make_step(module, method, tx, axis, gate_tx)

    def first(key: jax.Array) -> Any:
        images = jnp.zeros(shape)
        state = init_state(module, method, tx, images[:1], key, gate_tx=gate_tx)
        return step(state, (images, jnp.zeros(shape[0], jnp.int32)))

    try:
        jax.eval_shape(jax.vmap(first, axis_name=axis), jax.random.split(jax.random.key(0), 1))
    except _MISFITS as error:
        raise UserError(
            "method.name", name, f"one that can look into this network ({brief(error)})"
        ) from error


def _batch_size(train: ConfigDict, images: int) -> int:
    """Images per step: `train.batch_size`, or an eighth of fewer training images than that."""
    _check_train(train)
    devices = jax.device_count()
    if train.batch_size <= images:
        return int(train.batch_size)
    smaller = max(images // _STEPS_OF_FEW // devices, 1) * devices
    if smaller > images:
        raise UserError(
            "data.name", f"{images} training images", f"{devices} or more, one a device"
        )
    return smaller


def _check_train(train: ConfigDict) -> None:
    devices = jax.device_count()
    if train.parallel not in ("jit", "pmap"):
        raise UserError("train.parallel", train.parallel, "jit, pmap")
    if train.loop not in ("auto", "scan", "steps"):
        raise UserError("train.loop", train.loop, "auto, scan, steps")
    for field in ("epochs", "log_every", "eval_every"):
        if train[field] < 1:
            raise UserError(f"train.{field}", train[field], "1 or more")
    if train.batch_size < 1:
        raise UserError("train.batch_size", train.batch_size, "1 or more")
    if train.batch_size % devices:
        raise UserError(
            "train.batch_size", train.batch_size, f"a multiple of the {devices} devices"
        )
    if not train.checkpoint_seconds >= 0:
        raise UserError("train.checkpoint_seconds", train.checkpoint_seconds, "0 or more")


def _check_trainings(train: ConfigDict, trainings: int) -> None:
    if trainings > 1 and train.epochs % (trainings * train.eval_every):
        allowed = f"a multiple of {trainings * train.eval_every}, for {trainings} equal trainings"
        raise UserError("train.epochs", train.epochs, allowed)
