"""Compiled programs of a run: initialization, steps, evaluation.

Each device holds the training examples, and a call receives indices of the examples of its steps;
or a call receives the examples themselves, streamed (`_feed`). `_segments` divides steps into calls
of compiled programs.
"""

import contextlib
import dataclasses
import functools
import types
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from gpnas._jit_once import jit_once
from gpnas._stacking import stack, unstack
from gpnas.data import Dataset, Split, augment, standardize
from gpnas.masks import apply
from gpnas.methods import EvalContext
from gpnas.train import _placement, _processes
from gpnas.train._averaging import evaluation_params
from gpnas.train._counters import count_changes
from gpnas.train._evaluate import Evaluated, make_predict_all
from gpnas.train._plan import Plan
from gpnas.train._pmap import with_pmap
from gpnas.train._segments import many_steps
from gpnas.train._state import TrainState
from gpnas.train._step import ANY, OBSERVING, PLAIN, Metrics, init_state, make_step
from gpnas.train.task import Metric

_AUGMENT = zlib.crc32(b"augment")  # derives augmentation keys from the key of a step


class Program(NamedTuple):
    """Compiled programs of one network, or of several replicas under `vmap`.

    Attributes:
      metric: The task's metric.
      init: `(keys, loaded) → [state]`, one state per key, see `init_state`.
      place: `[state] → placed`, laid out over devices and replicas.
      view: `placed → state` for programs that read it, with stacked replicas; no computation.
      fetch: The inverse of `place`; sharded arrays become NumPy arrays.
      run: `(placed, rows, steps, step=None) → (placed, metrics)`: runs the first `steps` rows,
        after `step` steps if known; metrics are summed over the steps, each (replicas,). Rows are
        indices of this process's examples, (replicas, rows, batch) int32, or streamed examples, a
        pair (replicas, rows, batch, …).
      networks: `[state] → [variables]` for evaluation, in one program and new buffers: parameters
        with gates and masks applied, and the model's other variables.
      predict_all: `([variables], split) → [(metrics, classes)]` of networks, in one program: means
        over all examples, and predicted classes, (examples,) int32; None unless the task is
        classification with at most 100 classes.
      on_eval: `(state, loss, split) → state`, the method's `on_eval`, or None; it returns the same
        object if nothing changes.
      executables: `() → int`, number of programs compiled for `run`.
      to_full_shape: `tree → tree`, variables or their statistics in the full network's shapes.
      resize_to_active: `state → (program, state)` resized to the active units, or both unchanged;
        None if arrays never change (see `_elastic`).
      from_full_shape: `(state, widths) → (program, state)`, the inverse of `to_full_shape`; None if
        arrays never change.
      widths: `{group: width}` of the arrays; empty if they never change.
    """

    metric: Metric
    init: Callable[..., list[TrainState]]
    place: Callable[[list[TrainState]], TrainState]
    view: Callable[[TrainState], TrainState]
    fetch: Callable[[TrainState], list[TrainState]]
    run: Callable[..., tuple[TrainState, Metrics]]
    networks: Callable[[list[TrainState]], list[dict[str, Any]]]
    predict_all: Callable[[list, Split], list[Evaluated]]
    on_eval: Callable[[TrainState, float, Split], TrainState] | None
    executables: Callable[[], int]
    to_full_shape: Callable[[Any], Any] = lambda tree: tree
    resize_to_active: Callable[[TrainState], tuple["Program", TrainState]] | None = None
    from_full_shape: (
        Callable[[TrainState, Mapping[str, int]], tuple["Program", TrainState]] | None
    ) = None
    widths: Mapping[str, int] = types.MappingProxyType({})

    def evaluate(self, variables: Any, split: Split) -> dict[str, float]:
        """Returns the metrics of one network, means over all examples."""
        return self.predict_all([variables], split)[0][0]


def in_saved_widths(
    program: Program, states: list[TrainState], widths: Mapping[str, int]
) -> tuple[Program, list[TrainState]]:
    """Returns the program and the states of an elastic run in the widths that were saved."""
    if not widths or program.from_full_shape is None:
        return program, states
    program, state = program.from_full_shape(states[0], widths)
    return program, [state]


def resize_to_active(
    program: Program, states: list[TrainState]
) -> tuple[Program, list[TrainState], bool]:
    """Returns the program for the active network, the states, and whether the states changed."""
    if program.resize_to_active is None:
        return program, states, False
    program, state = program.resize_to_active(states[0])
    return program, [state], state is not states[0]


def make_program(
    plan: Plan,
    data: Dataset,
    replicas: int = 1,
    shard_min_size: int = 0,
    validation: Callable[[], Any] | None = None,
) -> Program:
    """Builds the programs of a run.

    Args:
      plan: The plan of the run.
      data: The data set.
      replicas: Number of seeds that train together under `vmap`. They share the step, so that one
        decision on a mask update applies to all of them; other steps then have no cost for mask
        updates.
      shard_min_size: Elements of the smallest array that is sharded, for one seed, see `shardings`;
        0: all are replicated.
      validation: The validation split on the device, for programs that share its memory, see
        `_evaluate.keep_validation`; by default, the program has its own.
    """

    layout, init = _make_init(plan, shard_min_size)
    if plan.axis is None:
        place, view, fetch, run, executables = _with_jit(plan, data, replicas, layout)
    else:
        place, view, fetch, run, executables = with_pmap(
            make_bodies(plan, data), plan.loop, _resident(plan, data), _zero(plan)
        )

    def network(state: TrainState) -> dict[str, Any]:
        params = evaluation_params(state.opt_state, state.params)
        params = plan.method.gates.network(params, state.aux, state.masks, state.step)
        params = apply(state.masks, params)
        return jax.tree.map(jnp.copy, {"params": params, **state.model_state})

    @jit_once
    def networks(states: list[TrainState]) -> list[dict[str, Any]]:
        if len(states) == 1:
            return [network(states[0])]
        return unstack(jax.vmap(network, (_REPLICA_AXES,))(_stacked(states)), len(states))

    predict_all = make_predict_all(plan, data, validation)
    return Program(
        plan.task.metric,
        lambda keys, loaded=None: [init(key, loaded) for key in keys],
        place,
        view,
        fetch,
        run,
        networks,
        predict_all,
        _make_on_eval(plan, predict_all),
        executables,
    )


def matmul_precision(train: ConfigDict) -> contextlib.AbstractContextManager:
    """Sets JAX's precision of products to `train.matmul_precision`, unless that is empty."""
    value = train.matmul_precision
    return jax.default_matmul_precision(value) if value else contextlib.nullcontext()


def initial_state(plan: Plan, key: jax.Array, loaded: Any = None) -> TrainState:
    """Returns the initial state of a seed, see `init_state`."""
    inputs = jnp.zeros((1, *plan.inputs.shape), plan.inputs.dtype)
    return init_state(
        plan.task, plan.method, plan.tx, inputs, key, gate_tx=plan.gate_tx, loaded=loaded
    )


def _make_init(plan: Plan, shard_min_size: int) -> tuple[Any, Callable]:
    """Returns shardings of a state (None: replicated), and `(key, loaded) → state`."""
    init_one = functools.partial(initial_state, plan)
    if not shard_min_size:
        return None, jit_once(init_one)
    like = jax.eval_shape(init_one, jax.random.key(0))
    layout = _placement.shardings(like, shard_min_size, _placement.mesh())
    spread = jit_once(init_one, out_shardings=layout)

    def init(key: jax.Array, loaded: Any) -> TrainState:
        return _placement.fetch(spread(*_placement.put((key, loaded))))

    return layout, init


def _make_on_eval(plan: Plan, predict_all: Callable) -> Callable | None:
    """Returns `(state, loss, split) → state` for the method's `on_eval`; None if it has none."""
    hook = plan.method.hooks.on_eval
    if hook is None:
        return None

    def on_eval(given: TrainState, loss: float, split: Split) -> TrainState:
        state = jax.tree.map(jnp.asarray, given)

        def loss_of(params: Any) -> float:
            variables = {"params": params, **state.model_state}
            return _processes.from_first(lambda: predict_all([variables], split)[0][0]["loss"])

        new = hook(state, EvalContext(loss, loss_of, plan.tx.init))
        if new is state:
            return given
        new = dataclasses.replace(
            new, counters=count_changes(state.counters, state.masks, new.masks, state.step)
        )
        return jax.tree.map(jnp.copy, new)  # leaves must not share donated memory

    return on_eval


def make_bodies(plan: Plan, data: Dataset) -> dict[str, Callable]:
    """Returns a step, by kind, as the body of a loop over rows, see `Program.run`."""
    axis_name = plan.axis

    def make(kind: str) -> Callable:
        step = make_step(plan.task, plan.method, plan.tx, axis_name, plan.gate_tx, kind)

        def body(
            i: Any, state: TrainState, sums: Metrics, every_input: Any, every_target: Any, rows: Any
        ) -> tuple:
            row = jax.tree.map(lambda x: x[i], rows)
            inputs, targets = row if plan.stream else (every_input[row], every_target[row])
            key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), _AUGMENT)
            first = len(targets) * jax.lax.axis_index(axis_name) if axis_name else 0
            keys = augment.image_keys(key, len(targets), first)
            batch = plan.augment(keys, standardize(inputs, data), targets)
            # Computed once: XLA would otherwise recompute them for each product that uses them.
            state, metrics = step(state, jax.lax.optimization_barrier(batch))
            return state, jax.tree.map(jnp.add, sums, metrics)

        return body

    return {kind: make(kind) for kind in (ANY, OBSERVING, PLAIN)}


def _resident(plan: Plan, data: Dataset) -> tuple:
    """Returns the training set on every device; empty if it is streamed."""
    return (None, None) if plan.stream else (data.train.inputs, data.train.targets)


def _zero(plan: Plan, *shape: int) -> Metrics:
    return {name: jnp.zeros(shape) for name in plan.metrics}


# Replicas share the step, so that a decision that depends on it alone (is a mask update due?) is
# made once; `vmap` would otherwise compute both branches for each replica.
_AXES: Any = {field.name: 0 for field in dataclasses.fields(TrainState)} | {"step": None}
_REPLICA_AXES = TrainState(**_AXES)


def _stacked(states: list[TrainState]) -> TrainState:
    return dataclasses.replace(stack(states), step=states[0].step)


@functools.partial(jax.jit, static_argnums=1)
def _unstack(state: TrainState, replicas: int) -> list[TrainState]:
    spread = dataclasses.replace(state, step=jnp.zeros(replicas))
    return [dataclasses.replace(one, step=state.step) for one in unstack(spread, replicas)]


def _with_jit(plan: Plan, data: Dataset, replicas: int, layout: Any) -> tuple:
    """Returns functions of a `Program`; `layout`: shardings of a state, None if replicated."""
    mesh = _placement.mesh()
    everywhere = NamedSharding(mesh, PartitionSpec())
    before = (None,) if replicas == 1 else (None, None)  # axes before the batch axis
    by_batch = NamedSharding(mesh, PartitionSpec(*before, _placement.AXIS))
    inputs, targets = _placement.put(_resident(plan, data))
    bodies = make_bodies(plan, data)
    zero = _placement.put(_zero(plan) if replicas == 1 else _zero(plan, replicas))
    out = everywhere if layout is None else layout
    jitted = functools.partial(jax.jit, donate_argnums=0, out_shardings=(out, everywhere))

    def wrap(f: Callable) -> Callable:
        @functools.wraps(f)
        def split(*args: Any) -> tuple:
            with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # selections read the mesh
                return f(*args)

        return jitted(f if layout is None else split)

    run_rows, executables = many_steps(
        bodies, plan.loop, replicas, wrap, zero, _REPLICA_AXES, plan.segments
    )

    def spread(x: np.ndarray) -> jax.Array:
        own, at = x[0] if replicas == 1 else x, len(before)
        shape = (*own.shape[:at], own.shape[at] * jax.process_count(), *own.shape[at + 1 :])
        return jax.make_array_from_process_local_data(by_batch, own, shape)

    def run(
        state: TrainState, rows: Any, steps: int, step: int | None = None
    ) -> tuple[TrainState, Metrics]:
        step = int(state.step) if step is None else step
        state, sums = run_rows(state, inputs, targets, jax.tree.map(spread, rows), steps, step)
        return state, jax.tree.map(jnp.atleast_1d, _placement.on_first_device(sums))

    def place(states: list[TrainState]) -> TrainState:
        return _placement.put(_stacked(states), layout)

    def view(state: TrainState) -> TrainState:
        return _placement.on_first_device(state) if layout is None else state

    def fetch(state: TrainState) -> list[TrainState]:
        one = _placement.fetch(state)
        return [one] if replicas == 1 else _unstack(one, replicas)

    return place, view, fetch, run, executables
