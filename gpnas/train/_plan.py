"""The plan of a run: constants fixed before the first step, and the expected cost."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from gpnas import models, plugins
from gpnas.data import Dataset, augment, require_kind, standardize
from gpnas.errors import UserError, check_choice, explained
from gpnas.masks import AxesTable
from gpnas.methods import Method, build, duration, find_method, needs_unit_groups
from gpnas.train import _patience
from gpnas.train._averaging import averages, params_ema
from gpnas.train._axes import NetworkLayers, network_layers, table_of, with_axes
from gpnas.train._build import build_model, build_task, discover_units, output_paths, shapes_of
from gpnas.train._deterministic import set_deterministic
from gpnas.train._feed import stream_steps
from gpnas.train._forecast import expected, mask_updates
from gpnas.train._network import check_network, check_task
from gpnas.train._optimizer import build_gate_optimizer, build_optimizer
from gpnas.train._pmap import axis_of
from gpnas.train._segments import Segments, loop_kind, plan_segments
from gpnas.train._step import init_state, make_step
from gpnas.train.task import TARGET_KINDS, Task, output_shape
from gpnas.units import CostModel, Macs, UnitGroups, cost_model

_STEPS_OF_FEW = 8  # steps of an epoch with fewer training examples than train.batch_size
_MISFITS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_LOOPS = ("auto", "scan", "steps", "segments")
_COUNTS = ("epochs", "log_every", "eval_every", "batch_size", "keep")  # must be 1 or more
_PRECISIONS = ("", "default", "high", "highest", "bfloat16", "tensorfloat32", "float32")
_MOST_STEPS = 2**31 - 2**20  # steps of a run; int32 with a margin for counts beyond its end


class Supernet(NamedTuple):
    """The network at full width.

    Attributes:
      sizes: `{group: units}`; empty if the method does not develop units.
      costs: Costs of its units for one example; None if the method has no cost budget.
    """

    sizes: dict[str, int]
    costs: CostModel | None


class Plan(NamedTuple):
    """Constants of a run, fixed before the first step.

    Attributes:
      task: The task; `task.model` is the network.
      metrics: Names of the metrics of a step: "loss" and those of the task.
      method: The method.
      tx, gate_tx: Optimizers of the weights (wrapped by the method) and of the gates.
      inputs: Shape and dtype of the network's input for one example.
      macs: MACs per example.
      batch_size: Examples per step; below `train.batch_size` if that exceeds the training set.
      steps_per_epoch, total_steps: Steps.
      loop: "scan", "steps" or "segments".
      durations: Durations of the method in steps (`patience`: evaluations), with "auto" and
        percentages resolved.
      expected: Expected cost, see `gpnas.train._forecast.expected`.
      variables: Shapes of the network's variables.
      groups: Unit groups of the network; empty if the method does not develop units.
      supernet: The network at full width.
      augment: Augmentation of training batches, from `data.augment`.
      stream: Steps whose examples are sent to the devices at once; 0 if the training set is on the
        devices.
      axis: Name of the mapped device axis, if any.
      segments: Division of the steps on the host, if `loop` is "segments".
    """

    task: Task
    metrics: tuple[str, ...]
    method: Method
    tx: optax.GradientTransformation
    gate_tx: optax.GradientTransformation
    inputs: jax.ShapeDtypeStruct
    macs: Macs
    batch_size: int
    steps_per_epoch: int
    total_steps: int
    loop: str
    durations: dict[str, int]
    expected: dict[str, float]
    variables: Any
    groups: UnitGroups
    supernet: Supernet
    augment: augment.Augmentation
    stream: int
    axis: str | None
    segments: Segments | None = None


class _Network(NamedTuple):
    """A checked network on its task: shapes, cost, layers as seen by a method, units.

    `batch` has the shapes of inputs and targets after `augment`.
    """

    task: Task
    metrics: list[str]
    inputs: jax.ShapeDtypeStruct
    variables: Any
    macs: Macs
    axes: AxesTable
    layers: NetworkLayers
    groups: UnitGroups
    costs: CostModel | None
    augment: augment.Augmentation
    batch: Any


def make_plan(
    config: ConfigDict,
    data: Dataset,
    architecture: Mapping[str, Any] | None = None,
    supernet: Supernet | None = None,
    task: Task | None = None,
    batch_size: int | None = None,
) -> Plan:
    """Builds the plan of a run from its config and data set, and checks both.

    Args:
      config: The config.
      data: The data set.
      architecture: Other widths of the config's network, see `models.from_architecture`.
      supernet: The network at full width; None: the plan's own network.
      task: Used instead of the config's task and network.
      batch_size: Examples per step of a finished run, which need not be possible on this machine;
        None: those of a new run.

    Raises:
      UserError: If any config field is invalid.
    """
    batch_size = batch_size or _batch_size(config.train, len(data.train))
    steps_per_epoch = len(data.train) // batch_size
    total_steps = steps_per_epoch * config.train.epochs
    axis = axis_of(config.train)
    if total_steps > _MOST_STEPS:
        allowed = f"at most {_MOST_STEPS // steps_per_epoch}: steps are counted in 32 bits"
        raise UserError("train.epochs", config.train.epochs, allowed)
    task = task or _make_task(config, data, axis, architecture)
    network = _make_network(config, data, axis, task, batch_size)
    supernet = supernet or Supernet(network.groups.sizes, network.costs)
    evaluations = -(-config.train.epochs // config.train.eval_every)
    method, durations = _make_method(
        config, data, network, supernet, total_steps, batch_size, evaluations
    )
    _patience.check_patience(config, method, steps_per_epoch)
    schedule_steps = total_steps // method.trainings
    tx = method.optimizer(build_optimizer(config.optimizer, schedule_steps, network.axes))
    if config.optimizer.ema:
        tx = optax.chain(optax.with_extra_args_support(tx), params_ema(config.optimizer.ema))
    _check_averages(config, method, tx, network.variables["params"])
    gate_tx = build_gate_optimizer(config, schedule_steps)
    batch = _of_size(network.batch, batch_size)
    _check_step(config.method.name, network.task, method, tx, gate_tx, batch, axis)
    shapes, params = network.layers.shapes, network.variables["params"]
    updates = mask_updates(method, durations, total_steps, evaluations)
    examples = total_steps * batch_size
    cost = expected(method, params, shapes, network.macs, total_steps, examples, updates)
    loop, stream = loop_kind(config, shapes), stream_steps(config.train, data, batch_size)
    ends = [n for n in (steps_per_epoch, config.train.log_every, stream) if n]
    return Plan(
        network.task, tuple(network.metrics), method, tx, gate_tx, network.inputs, network.macs,
        batch_size, steps_per_epoch, total_steps, loop, durations, cost,
        network.variables, network.groups, supernet, network.augment, stream, axis,
        plan_segments(loop, method, params, total_steps, ends),
    )  # fmt: skip


def _make_task(
    config: ConfigDict, data: Dataset, axis: str | None, architecture: Mapping[str, Any] | None
) -> Task:
    kind = TARGET_KINDS.get(config.task.name)
    if kind is not None:
        require_kind(data, targets=(kind,))
    model = build_model(config.model, data.num_classes, axis, architecture)
    return build_task(config.task, model)


def _make_network(
    config: ConfigDict, data: Dataset, axis: str | None, task: Task, batch_size: int
) -> _Network:
    one = jax.eval_shape(lambda x: standardize(x, data), jnp.asarray(data.train.inputs[:1]))
    inputs = jax.ShapeDtypeStruct(one.shape[1:], one.dtype)
    variables = shapes_of(task, config.model, inputs)
    traced = batch_size // (jax.device_count() if axis else 1)  # batch size of a step on one device
    # A batch of 1 would hide scalar metrics.
    batch = _of_size((one, data.train.targets), max(traced, 2))
    outputs = output_shape(config.task.name, task, data)
    check_network(config.model.name, task, variables, batch, outputs, axis)
    if config.data.augment not in ("", "none"):
        require_kind(data, inputs=("image",))
    augmented = augment.parse(config.data.augment, batch, data.num_classes, axis)
    trained = augment.output_shapes(augmented, batch, axis)
    metrics = check_task(config.task.name, task, variables, batch, trained, axis)
    axes = table_of(config.model.get("axes", {}))
    return _Network(
        task,
        metrics,
        inputs,
        variables,
        models.count_macs(task.model.infer, variables, jax.ShapeDtypeStruct(one.shape, one.dtype)),
        axes,
        network_layers(variables["params"], axes),
        _groups(config.method.name, task, variables, inputs),
        _costs(config.method.name, task, variables, one),
        augmented,
        trained,
    )


def _costs(name: str, task: Task, variables: Any, inputs: Any) -> CostModel | None:
    if "costs" not in plugins.parameters_of(find_method(name)):
        return None
    one = jax.ShapeDtypeStruct(inputs.shape, inputs.dtype)
    blocks = models.removable_blocks(task.model.module)
    return cost_model(task.model.infer, variables, one, blocks=blocks)


def _groups(name: str, task: Task, variables: Any, inputs: jax.ShapeDtypeStruct) -> UnitGroups:
    needed = needs_unit_groups(name)
    return discover_units(task.model, variables, inputs) if needed else UnitGroups((), ())


def _make_method(
    config: ConfigDict,
    data: Dataset,
    network: _Network,
    supernet: Supernet,
    total_steps: int,
    batch_size: int,
    evaluations: int,
) -> tuple[Method, dict[str, int]]:
    settings, axes, layers = config.method.to_dict(), network.axes, network.layers
    parameters = plugins.parameters_of(find_method(settings["name"]))
    durations = duration.resolve(settings, parameters, total_steps, evaluations)
    sided = any(a.in_axis is not None or a.out_axis is not None for a in axes.values())
    if sided and "allocation" in parameters and "allocation" not in settings:
        allowed = "a value, since the default ignores in_axis and out_axis of model.axes"
        raise UserError("method.allocation", None, allowed)
    per_weight = network.macs.per_weight
    method = build(
        settings,
        total_steps=total_steps,
        batch_size=batch_size,
        evaluations=evaluations,
        images=len(data.train),
        classes=data.num_classes,
        shapes=layers.shapes,
        axes=layers.axes,
        macs={name: per_weight[p] for name, p in layers.leaf_of.items() if p in per_weight},
        params=network.variables["params"],
        groups=network.groups,
        sizes=supernet.sizes,
        costs=supernet.costs,
        output_layers=output_paths(
            settings["name"], network.task.model, network.variables, network.inputs
        ),
    )
    if axes:
        allowed = "none for a method that develops units, has gates or trains several times"
        units = needs_unit_groups(settings["name"])
        if units or method.gates.reads_network or method.trainings > 1:
            raise UserError("model.axes", config.model.axes.to_dict(), allowed)
        method = method._replace(transform=with_axes(method.transform, axes))
    _check_trainings(config.train, method.trainings)
    return method, durations


def _of_size(batch: Any, size: int) -> Any:
    """Returns the shapes of a batch for another number of examples."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), batch)


def _check_step(
    name: str, task: Task, method: Method, tx: Any, gate_tx: Any, batch: Any, axis: str | None
) -> None:
    """Traces a step if the method intercepts the network's layers or is a user's own."""
    own = ":" in name
    if not (own or method.gates.reads_network or method.hooks.on_eval is not None):
        return
    if method.gates.reads_network and task.model.module is None:
        raise UserError("method.name", name, "one without gates, since the network is not Linen's")
    step = make_step(task, method, tx, axis, gate_tx)

    def first(key: jax.Array) -> Any:
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), batch)
        state = init_state(task, method, tx, zeros[0][:1], key, gate_tx=gate_tx)
        return step(state, zeros)

    allowed = "one that can train this network" if own else "one that can analyse this network"
    with explained("method.name", name, allowed, *_MISFITS):
        jax.eval_shape(jax.vmap(first, axis_name=axis), jax.random.split(jax.random.key(0), 1))


def _batch_size(train: ConfigDict, examples: int) -> int:
    """Returns the examples per step: `train.batch_size`, or an eighth of a smaller training set."""
    _check_train(train)
    devices = jax.device_count()
    if train.batch_size <= examples:
        return int(train.batch_size)
    smaller = max(examples // _STEPS_OF_FEW // devices, 1) * devices
    if smaller > examples:
        raise UserError(
            "data.name", f"{examples} training examples", f"{devices} or more, one per device"
        )
    return smaller


def _check_train(train: ConfigDict) -> None:
    set_deterministic(train.deterministic)
    check_choice("train.loop", train.loop, _LOOPS)
    devices, steps = jax.device_count(), train.profile
    trace = len(steps) == 2 and all(type(n) is int for n in steps) and 0 <= steps[0] < steps[1]
    for field, fine, allowed in (
        *((field, train[field] >= 1, "1 or more") for field in _COUNTS),
        ("batch_size", train.batch_size % devices == 0, f"a multiple of the {devices} devices"),
        ("shard_min_size", train.shard_min_size >= 0, "0 or more"),
        ("matmul_precision", train.matmul_precision in _PRECISIONS,
         f"{', '.join(_PRECISIONS[1:])}, or empty"),
        ("keep_epochs", all(type(n) is int and 1 <= n <= train.epochs for n in train.keep_epochs),
         f"whole numbers from 1 to train.epochs, {train.epochs}"),
        ("profile", not steps or trace, "(start, stop), steps with 0 <= start < stop"),
        ("checkpoint_seconds", train.checkpoint_seconds >= 0, "0 or more"),
    ):  # fmt: skip
        if not fine:
            raise UserError(f"train.{field}", train[field], allowed)


def _check_averages(config: ConfigDict, method: Method, tx: Any, params: Any) -> None:
    """Refuses averaged weights for a method whose `on_eval` compares losses of the trained ones."""
    if method.hooks.on_eval is None or method.trainings > 1:
        return
    if averages(jax.eval_shape(tx.init, params)):
        field = "ema" if config.optimizer.ema else "name"
        allowed = f"none that averages weights, for the method {config.method.name}"
        raise UserError(f"optimizer.{field}", config.optimizer[field], allowed)


def _check_trainings(train: ConfigDict, trainings: int) -> None:
    if trainings > 1 and train.epochs % (trainings * train.eval_every):
        allowed = f"a multiple of {trainings * train.eval_every}, for {trainings} equal trainings"
        raise UserError("train.epochs", train.epochs, allowed)
