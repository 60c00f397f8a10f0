"""Elastic training: arrays are resized to the active units, so that small networks train faster.

In development by units, most units of the network are inactive. Between chunks of steps the host
resizes arrays to the active units plus spare capacity. The number of distinct widths is limited,
since each needs a compiled program. Checkpoints and records have the full shapes.
"""

import dataclasses
import functools
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gpnas._jit_once import jit_once
from gpnas.data import Dataset
from gpnas.errors import UserError
from gpnas.masks import apply
from gpnas.models import removable_blocks
from gpnas.train._evaluate import keep_validation
from gpnas.train._plan import Plan, make_plan
from gpnas.train._program import Program, initial_state, make_program
from gpnas.train._rebuild import Rebuild, check_rebuilt, find_rebuild, with_structure_of
from gpnas.train._state import TrainState
from gpnas.units import (
    groups_in_params,
    is_block,
    outgoing_masks,
    resize,
    score,
    total_cost,
    weight_masks,
    without_blocks,
)

_NEW_UNITS = zlib.crc32(b"newborn")  # kept so that random streams do not change
_SAVES = 0.75  # resize only if MACs fall to this fraction of the current ones
_FLOPS_PER_MAC = 6  # two each in the forward pass and for the gradients of weights and inputs
_PARTS = 8  # parts of a supernet's width: resolution of array widths, bounds the programs
_LEAST = 2  # units of an array: `discover` finds no units on axes of length 1


_Resized = tuple[Program, TrainState]


class _Network(NamedTuple):
    """A network of an elastic run.

    Attributes:
      plan: Its plan.
      program: Its programs.
      initialize: `state → state` with initial weights of inactive units that have none.
    """

    plan: Plan
    program: Program
    initialize: Callable[[TrainState], TrainState]


def check_elastic(config: ConfigDict, data: Dataset, plan: Plan) -> None:
    """Checks that a run supports elastic training.

    Raises:
      UserError: If the method does not develop units, the network cannot be built with other widths
        or computes another function then, `train.parallel` is not "jit", the state is sharded, or
        `elastic_round_to` is below 1, or `elastic_min_flops` is negative, or the optimizer's state
        cannot be resized.
    """
    if plan.method.hooks.capacity is None:
        raise UserError("elastic", True, "a method that develops units: development_units")
    for field, value in (("parallel", "jit"), ("shard_min_size", 0)):
        if config.train[field] != value:
            raise UserError(f"train.{field}", config.train[field], f"{value}, where elastic=True")
    for field, least in (("elastic_round_to", 1), ("elastic_min_flops", 0)):
        if not config[field] >= least:
            raise UserError(field, config[field], f"{least} or more")
    check_rebuilt(config, data, plan, find_rebuild(config, data, plan))
    rng = np.random.default_rng(0)  # groups differ, so that no axis is taken for another one
    some = {n: rng.permutation(size) < -(-size // 2) for n, size in plan.groups.sizes.items()}
    moments = jax.eval_shape(plan.tx.init, plan.variables["params"])
    try:
        _in_widths(plan, jax.tree.map(_zeros, moments), some, {})
    except UserError as error:
        allowed = f"one with moments of the parameters' shapes, or elastic=False ({error})"
        raise UserError("optimizer.name", config.optimizer.name, allowed) from error


def _zeros(shape: jax.ShapeDtypeStruct) -> Any:
    if jnp.issubdtype(shape.dtype, jax.dtypes.extended):  # a key
        return shape
    return np.broadcast_to(np.zeros((), shape.dtype), shape.shape)


def make_elastic(config: ConfigDict, data: Dataset, plan: Plan) -> Program:
    """Builds the programs of an elastic run: of the supernet, and of smaller networks on demand.

    Args:
      config: The configuration.
      data: The data set.
      plan: The plan of the supernet.
    """
    placed = data if plan.stream else _on_device(data)  # once for all programs
    build = functools.partial(_build, data=placed, validation=keep_validation(plan, placed))
    rebuild = find_rebuild(config, data, plan)
    sizes = rebuild.sizes
    made: dict[str, _Network] = {}

    def built(network: Mapping[str, Any]) -> _Network:
        name = json.dumps(network)
        if name not in made:
            made[name] = build(make_plan(config, data, network, plan.supernet))
        return made[name]

    def resized(
        plan: Plan, state: TrainState, units: Mapping[str, Any], widths: Mapping[str, int]
    ) -> tuple[_Network, TrainState]:
        state = _in_widths(plan, state, units, widths)
        own = built(rebuild.architecture(plan.task.model, state.params, widths))
        program = own.program._replace(
            to_full_shape=functools.partial(_to_full_shape, own.plan, sizes, whole),
            resize_to_active=lambda state: resize_to_active(own, False, state),
            widths=dict(widths),
            executables=functools.partial(_executables, made),
        )
        own = own._replace(program=program)
        return own, with_structure_of(_shapes(own.plan), state)

    def resize_to_active(own: _Network, is_full: bool, state: TrainState) -> _Resized:
        wanted = _widths(own.plan, state, sizes, config)
        widths = _worthwhile(own.plan, wanted, int(state.step), config.elastic_min_flops)
        if widths == own.plan.groups.sizes:
            return own.program, own.initialize(state) if is_full else state
        own, state = resized(own.plan, state, state.mask_state.units, widths)
        return own.program, own.initialize(state)

    def from_full_shape(state: TrainState, widths: Mapping[str, int]) -> _Resized:
        if widths == plan.groups.sizes:
            return base.program, state
        first = {name: np.arange(size) < widths[name] for name, size in sizes.items()}
        own, state = resized(plan, state, first, widths)
        return own.program, state

    whole = _shapes(plan), plan.variables
    network = rebuild.architecture(plan.task.model, plan.variables["params"], sizes)
    base = made[json.dumps(network)] = build(plan)
    program = base.program._replace(
        resize_to_active=lambda state: resize_to_active(base, True, state),
        from_full_shape=from_full_shape,
        widths=plan.groups.sizes,
        executables=functools.partial(_executables, made),
    )
    base = base._replace(program=program)
    return program


def _executables(made: Mapping[str, _Network]) -> int:
    return sum(one.program.executables() for one in made.values())


def _build(plan: Plan, data: Dataset, validation: Callable[[], Any] | None) -> _Network:
    program = make_program(plan, data, validation=validation)
    return _Network(plan, program, _make_initialize(plan))


def _on_device(data: Dataset) -> Dataset:
    inputs: Any = jnp.asarray(data.train.inputs)
    targets: Any = jnp.asarray(data.train.targets)
    train = dataclasses.replace(data.train, inputs=inputs, targets=targets)
    return dataclasses.replace(data, train=train)


def active_network(
    plan: Plan, rebuild: Rebuild, variables: Any, units: Mapping[str, Any]
) -> tuple[dict, Any]:
    """Removes the inactive units of a network; the result has no masks.

    Args:
      plan: The plan of the run.
      rebuild: The rebuild of its network.
      variables: The masked variables, in the shapes of `plan`.
      units: `{group: (size,) bool}`, the active units.

    Returns:
      `(architecture, variables)`, for `gpnas.models.from_architecture`.
    """
    small = _in_widths(plan, variables, units, {})
    small = without_blocks(small, removable_blocks(plan.task.model.module), units)
    sizes = {**rebuild.sizes, **{name: int(np.sum(mask)) for name, mask in units.items()}}
    return rebuild.architecture(plan.task.model, small["params"], sizes), small


def _widths(
    plan: Plan, state: TrainState, sizes: Mapping[str, int], config: ConfigDict
) -> dict[str, int]:
    """Returns array widths: active units plus the capacity that the method needs, rounded up."""
    assert plan.method.hooks.capacity is not None
    active = {n: int(m.sum()) for n, m in jax.device_get(state.mask_state.units).items()}
    capacity = plan.method.hooks.capacity(int(state.step), config.train.log_every, active)
    widths = {}
    for name, count in active.items():
        part = -(-sizes[name] // _PARTS)
        step = -(-part // config.elastic_round_to) * config.elastic_round_to
        wanted = max(count, capacity.get(name, 0), _LEAST)
        widths[name] = 1 if is_block(name) else min(-(-wanted // step) * step, sizes[name])
    return plan.groups.sizes | widths


def _worthwhile(plan: Plan, widths: dict[str, int], step: int, min_flops: float) -> dict[str, int]:
    """Returns the new widths, or the current ones if shrinking saves too little.

    It applies only if costs are known: a network that shrinks under a budget would otherwise need a
    program for almost every mask update. The decision depends on no measured time, so that a
    resumed run repeats it.
    """
    now = plan.groups.sizes
    costs = plan.supernet.costs
    if costs is None or any(widths[name] > size for name, size in now.items()):
        return widths
    old, new = (
        float(total_cost(costs, {n: np.arange(k) < w[n] for n, k in costs.sizes.items()}))
        for w in (now, widths)
    )
    examples = (plan.total_steps - step) * plan.batch_size
    pays = _FLOPS_PER_MAC * (old - new) * examples >= min_flops
    return widths if pays and new < _SAVES * old else now


def _in_widths(plan: Plan, tree: Any, units: Mapping[str, Any], widths: Mapping[str, int]) -> Any:
    masks = {
        name: np.ones(1, bool) if is_block(name) else np.asarray(mask)  # blocks are not resized
        for name, mask in units.items()
    }
    return resize(tree, plan.variables, plan.groups, masks, widths)


def _make_initialize(plan: Plan) -> Callable[[TrainState], TrainState]:
    """Returns a function that initializes inactive units without weights.

    No output depends on these units. The function is called after each chunk of steps, so its
    programs are compiled once.
    """
    groups, draw = groups_in_params(plan.groups), jit_once(plan.task.init)

    @jit_once
    def have_weights(params: Any) -> dict[str, jax.Array]:
        sums = score.sum_per_unit(groups, jax.tree.map(jnp.abs, params), "incoming")
        return {name: total > 0 for name, total in sums.items()}

    def initialize(state: TrainState) -> TrainState:
        initialized = jax.device_get(have_weights(state.params))
        if all(own.all() for own in initialized.values()):
            return state
        key = jax.random.fold_in(jax.random.fold_in(state.key, _NEW_UNITS), state.step)
        fresh = draw(key, jnp.zeros((1, *plan.inputs.shape), plan.inputs.dtype))
        variables = {"params": state.params, **state.model_state}
        old = weight_masks(plan.groups, initialized, variables)
        variables = jax.tree.map(jnp.where, old, variables, fresh)
        params = variables.pop("params")
        params = apply(outgoing_masks(groups, state.mask_state.units, params), params)
        return dataclasses.replace(state, params=params, model_state=variables)

    return initialize


def _shapes(plan: Plan) -> TrainState:
    return jax.eval_shape(functools.partial(initial_state, plan), jax.random.key(0))


def _to_full_shape(plan: Plan, sizes: Mapping[str, int], whole: tuple, tree: Any) -> Any:
    """Returns a state, or variables, in the supernet's shapes."""
    full = _in_widths(plan, tree, {}, sizes)
    state, variables = whole
    return with_structure_of(state if isinstance(tree, TrainState) else variables, full)
