"""The train step: five operations in the same order for every method.

1. gradients at the masked parameters (and of the gates), averaged over devices,
2. the mask transform,
3. the transition of parameters and optimizer state,
4. the optimizer, on masked gradients,
5. the masks again, since momentum and weight decay would change inactive weights.
"""

import contextlib
import dataclasses
import zlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from gpnas.gates import Forward, GateContext, Intercept
from gpnas.masks import (
    MaskContext,
    apply,
    cond_inplace,
    finite,
    init_masks,
    is_weight,
    reinit_grown,
    reset_moments,
    tree,
)
from gpnas.methods import Method
from gpnas.train._counters import count_changes, zero_counters
from gpnas.train._state import TrainState
from gpnas.train.task import Batch, Task

_GATES = zlib.crc32(b"gates")  # derives gate keys from the key of a step
_NETWORK = zlib.crc32(b"network")  # derives keys of random layers (dropout)

ANY, OBSERVING, PLAIN = "any", "observing", "plain"  # kinds of steps
#: "loss" and the task's metrics: batch means, or sums of these.
Metrics = dict[str, Any]


def init_state(
    task: Task,
    method: Method,
    tx: optax.GradientTransformation,
    inputs: jax.Array,
    key: jax.Array,
    where: tree.Filter = is_weight,
    gate_tx: optax.GradientTransformation | None = None,
    loaded: Any = None,
) -> TrainState:
    """Returns the state before the first step.

    Args:
      task: The task.
      method: The method.
      tx: The optimizer, wrapped by the method.
      inputs: (1, …); only shape and dtype are used.
      key: The run's random key.
      where: Which leaves may be masked.
      gate_tx: The optimizer of the gates; `tx` if None.
      loaded: Initial variables, of the structure of `task.init`; leaves that are None are
        initialized.
    """
    init_key = jax.random.split(key, 3)[0]
    variables = _with_loaded(task.init(init_key, inputs), loaded)
    return state_of(variables, method, tx, key, where, gate_tx)


def state_of(
    variables: Any,
    method: Method,
    tx: optax.GradientTransformation,
    key: jax.Array,
    where: tree.Filter = is_weight,
    gate_tx: optax.GradientTransformation | None = None,
) -> TrainState:
    """Returns the state before the first step, from initial variables.

    Args:
      variables: Variables of the network, "params" and other collections.
      method, tx, key, where, gate_tx: As for `init_state`.
    """
    _, mask_key, run_key = jax.random.split(key, 3)
    params = variables["params"]
    model_state = {name: value for name, value in variables.items() if name != "params"}
    masks, mask_state = method.transform.init(init_masks(params, where), params, mask_key)
    params = apply(method.nonzero(masks, mask_state), params)
    aux = method.gates.init(masks, params, jax.random.fold_in(mask_key, _GATES))
    return TrainState(
        step=jnp.int32(0),
        params=params,
        masks=masks,
        mask_state=mask_state,
        opt_state=tx.init(params),
        model_state=model_state,
        aux=aux,
        aux_opt_state=(gate_tx or tx).init(aux) if aux else (),
        key=run_key,
        counters=zero_counters(masks),
    )


def _with_loaded(fresh: Any, loaded: Any) -> Any:
    """Replaces fresh variables by loaded ones where present (None: nothing loaded)."""
    if loaded is None:
        return fresh
    # By path: static fields (widths of Equinox modules) may differ, and `fresh` may have None, too.
    given = dict(jax.tree_util.tree_flatten_with_path(loaded, is_leaf=lambda x: x is None)[0])

    def leaf(path: tuple, own: Any) -> Any:
        return own if given[path] is None else jnp.asarray(given[path], own.dtype)

    return jax.tree.map_with_path(leaf, fresh)


def forward_of(task: Task, model_state: Any, batch: Batch, key: jax.Array | None = None) -> Forward:
    """Returns the network on a batch as a function, for methods and analyses.

    Args:
      task: The task.
      model_state: The network's variables without the parameters.
      batch: Inputs and targets.
      key: Key of random layers in training; None: evaluation mode.
    """

    def logits(params: Any, intercept: Intercept | None = None) -> tuple[jax.Array, Any]:
        with _intercepting(intercept):
            found, state = task.model.apply({"params": params, **model_state}, batch[0], key)
        return jax.tree.map(tree.wide, found), state

    def loss(params: Any, intercept: Intercept | None = None) -> tuple[jax.Array, Any]:
        with _intercepting(intercept):
            value, aux = task.loss({"params": params, **model_state}, batch, key)
        return value, (aux.model_state, {"loss": value, **aux.metrics})

    return Forward(logits, loss, batch[1])


def _intercepting(intercept: Intercept | None) -> contextlib.AbstractContextManager:
    return nn.intercept_methods(intercept) if intercept else contextlib.nullcontext()


def make_step(
    task: Task,
    method: Method,
    tx: optax.GradientTransformation,
    axis_name: str | None = None,
    gate_tx: optax.GradientTransformation | None = None,
    kind: str = ANY,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Builds the train step, a pure function.

    Args:
      task: The task.
      method: The method: mask transform and use of its masks.
      tx: The optimizer, wrapped by the method.
      axis_name: A mapped axis over which gradients are averaged; None under `jit`, where the
        batch's sharding determines it.
      gate_tx: The optimizer of the gates; `tx` if None.
      kind: "any": the step decides whether masks are updated. "observing", "plain": the caller
        knows that masks do not change at this step; the step has no control flow, and updates only
        statistics, or nothing.

    Returns:
      `(state, (inputs, targets), **extra) → (state, metrics)`; metrics are "loss" and those of the
      task, means over the batch; `extra` are further arguments of `tx.update`.
    """
    tx = optax.with_extra_args_support(tx)
    gate_tx = tx if gate_tx is None else optax.with_extra_args_support(gate_tx)
    gradients = _make_gradients(task, method, axis_name)
    update_masks = {
        ANY: _make_mask_update(method, tx),
        OBSERVING: _make_observation(method),
        PLAIN: _keep_masks,
    }[kind]

    def step(state: TrainState, batch: Batch, **extra: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        (grads, gate_grads), (model_state, metrics), forward = gradients(state, batch, key)
        masks, mask_state, params, opt_state, counters = update_masks(
            state,
            MaskContext(
                step=state.step, params=state.params, grads=grads, key=key, gates=state.aux
            ),
        )
        updated = method.updated(masks, mask_state)
        updates, opt_state = tx.update(
            apply(updated, grads),
            opt_state,
            params,
            masks=masks,
            dense_grads=grads,
            forward=forward,
            **extra,
        )
        if method.zero_mask is not None:  # otherwise set to zero below
            updates = apply(updated, updates)
        params = optax.apply_updates(params, updates)
        params = apply(method.nonzero(masks, mask_state), params)
        aux, aux_opt_state = state.aux, state.aux_opt_state
        if aux:
            updates, aux_opt_state = gate_tx.update(gate_grads, aux_opt_state, aux)
            learn = method.gates.learn(state.step)
            updates = jax.tree.map(lambda u: jnp.where(learn, u, jnp.zeros((), u.dtype)), updates)
            aux = optax.apply_updates(aux, updates)
        state = dataclasses.replace(
            state, step=state.step + 1, params=params, masks=masks, mask_state=mask_state,
            opt_state=opt_state, model_state=model_state, counters=counters, aux=aux,
            aux_opt_state=aux_opt_state,
        )  # fmt: skip
        return state, metrics

    return step


def _make_gradients(task: Task, method: Method, axis_name: str | None) -> Callable[..., tuple]:
    """Returns `(state, batch, key) → (gradients, (model state, metrics), forward)`."""

    def mean(tree: Any) -> Any:
        if not axis_name:
            return tree
        return jax.tree.map(  # counters are equal on all devices
            lambda x: jax.lax.pmean(x, axis_name) if jnp.issubdtype(x.dtype, jnp.inexact) else x,
            tree,
        )

    def gradients(state: TrainState, batch: Batch, key: jax.Array) -> tuple:
        masked = method.zero_mask is not None and method.mask_forward and method.gates.masked
        used = apply(state.masks, state.params) if masked else state.params
        gate_key, network_key = (jax.random.fold_in(key, n) for n in (_GATES, _NETWORK))
        if axis_name:  # separate random numbers for each device's part of the batch
            device = jax.lax.axis_index(axis_name)
            gate_key, network_key = (jax.random.fold_in(k, device) for k in (gate_key, network_key))
        forward = forward_of(task, state.model_state, batch, network_key)._replace(mean=mean)
        context = GateContext(state.step, state.masks, gate_key)

        def loss(params: Any, aux: Any) -> tuple[jax.Array, Any]:
            return method.gates.loss(forward, params, aux, context)

        grads, out = jax.grad(loss, (0, 1), has_aux=True)(used, state.aux)
        return *mean((grads, out)), forward

    return gradients


def _keep_masks(state: TrainState, ctx: MaskContext) -> tuple:
    del ctx
    return state.masks, state.mask_state, state.params, state.opt_state, state.counters


def _make_observation(method: Method) -> Callable[[TrainState, MaskContext], tuple]:
    def update(state: TrainState, ctx: MaskContext) -> tuple:
        own = dataclasses.replace(ctx, branches=False)
        mask_state = method.transform.observe(state.masks, state.mask_state, own)
        return _keep_masks(dataclasses.replace(state, mask_state=mask_state), ctx)

    return update


def _make_mask_update(
    method: Method, tx: optax.GradientTransformationExtraArgs
) -> Callable[[TrainState, MaskContext], tuple]:
    """Returns `(state, context) → (masks, mask state, params, optimizer state, counters)`."""

    def update_fn(carry: tuple, ctx: MaskContext) -> tuple:
        masks, mask_state, params, opt_state, counters = carry
        ctx = dataclasses.replace(ctx, params=params)  # captured values would be copied
        new_masks, new_state = method.transform.update(masks, mask_state, ctx)
        old, new = method.updated(masks, mask_state), method.updated(new_masks, new_state)
        before, after = method.nonzero(masks, mask_state), method.nonzero(new_masks, new_state)
        params = reinit_grown(
            before, after, params, init=method.grow_init, grads=ctx.grads, key=ctx.key
        )
        opt_state = reset_moments(tx, old, new, opt_state, params)
        counters = count_changes(counters, masks, new_masks, ctx.step)
        return new_masks, new_state, params, opt_state, counters

    def update(state: TrainState, ctx: MaskContext) -> tuple:
        deferred = finite.pending(state.mask_state)  # deferred by a step with non-finite gradients
        may = method.transform.may_change(state.step) | deferred

        def observe(carry: tuple) -> tuple:
            masks, mask_state, *others = carry
            return masks, method.transform.observe(masks, mask_state, ctx), *others

        carry = _keep_masks(state, ctx)
        return cond_inplace(may, lambda c: update_fn(c, ctx), carry, observe)

    return update
