"""The train step: five things in this order, the same for every method.

1. gradients through the masked parameters, averaged over devices,
2. the mask transform,
3. the transition of parameters and optimizer state,
4. the optimizer, on masked gradients,
5. the masks again: momentum and weight decay would revive the dead.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from gpnas.masks import MaskContext, apply, full, is_weight, reset, sometimes, transition
from gpnas.masks.tree import Filter
from gpnas.methods.method import Method
from gpnas.train.state import TrainState
from gpnas.train.survey import begin, observe

Batch = tuple[jax.Array, jax.Array]


class Metrics(NamedTuple):
    """() float32 each: mean loss (nats) and error (fraction) of a batch."""

    loss: jax.Array
    error: jax.Array


def init_state(
    module: nn.Module,
    method: Method,
    tx: optax.GradientTransformation,
    images: jax.Array,
    key: jax.Array,
    where: Filter = is_weight,
) -> TrainState:
    """The state before the first step.

    Args:
      module: Called as `module.apply(variables, images, train=…)`.
      method: What decides about the masks.
      tx: The optimizer, already wrapped by the method.
      images: (1, height, width, channels), any values: only the shape matters.
      key: The run's random key.
      where: Which leaves may be masked.
    """
    init_key, mask_key, run_key = jax.random.split(key, 3)
    variables = dict(module.init(init_key, images, train=False))
    params = variables.pop("params")
    masks, mask_state = method.transform.init(full(params, where), params, mask_key)
    params = params if method.keeps_dormant else apply(masks, params)
    return TrainState(
        step=jnp.int32(0),
        params=params,
        masks=masks,
        mask_state=mask_state,
        opt_state=tx.init(params),
        model_state=variables,
        aux={},
        key=run_key,
        survey=begin(masks),
    )


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy, () float32 in nats; labels (batch,) int."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def make_step(
    module: nn.Module,
    method: Method,
    tx: optax.GradientTransformation,
    axis_name: str | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds the train step, a pure function.

    Args:
      module: The network.
      method: The mask transform and how it is to be used.
      tx: The optimizer, already wrapped by the method.
      axis_name: Axis of `pmap` over which gradients are averaged; None under `jit`, where the
        batch's sharding says it all.

    Returns:
      `(state, (images, labels)) → (state, metrics)`.
    """
    tx = optax.with_extra_args_support(tx)

    def mean(tree: Any) -> Any:
        return jax.lax.pmean(tree, axis_name) if axis_name else tree

    def loss_fn(
        params: Any, model_state: Any, batch: Batch
    ) -> tuple[jax.Array, tuple[Any, Metrics]]:
        images, labels = batch
        logits, model_state = module.apply(
            {"params": params, **model_state}, images, train=True, mutable=list(model_state)
        )
        loss = cross_entropy(logits, labels)
        error = jnp.mean(jnp.argmax(logits, -1) != labels, dtype=jnp.float32)
        return loss, (model_state, Metrics(loss, error))

    def event(carry: tuple, ctx: MaskContext) -> tuple:
        masks, mask_state, params, opt_state, survey = carry
        ctx = dataclasses.replace(ctx, params=params)  # captured from outside, it would be copied
        new_masks, new_state = method.transform.update(masks, mask_state, ctx)
        old, new = method.learns(masks, mask_state), method.learns(new_masks, new_state)
        if method.keeps_dormant:
            opt_state = reset(tx, old, new, opt_state)
        else:
            params, opt_state = transition(
                tx, old, new, params, opt_state, wake=method.wake, grads=ctx.grads, key=ctx.key
            )
        return new_masks, new_state, params, opt_state, observe(survey, masks, new_masks, ctx.step)

    def develop(state: TrainState, ctx: MaskContext) -> tuple:
        may = method.transform.may_change(state.step)
        mask_state = sometimes(
            ~may,
            lambda s: method.transform.update(
                state.masks, s, dataclasses.replace(ctx, event=False)
            )[1],
            state.mask_state,
        )
        carry = (state.masks, mask_state, state.params, state.opt_state, state.survey)
        return sometimes(may, lambda c: event(c, ctx), carry)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)

        living = apply(state.masks, state.params) if method.keeps_dormant else state.params
        grads, aux = jax.grad(loss_fn, has_aux=True)(living, state.model_state, batch)
        grads, (model_state, metrics) = mean((grads, aux))

        context = MaskContext(step=state.step, params=state.params, grads=grads, key=key)
        masks, mask_state, params, opt_state, survey = develop(state, context)

        learns = method.learns(masks, mask_state)
        updates, opt_state = tx.update(apply(learns, grads), opt_state, params, masks=masks)
        params = optax.apply_updates(
            params, apply(learns, updates) if method.keeps_dormant else updates
        )
        params = params if method.keeps_dormant else apply(masks, params)

        state = dataclasses.replace(
            state, step=state.step + 1, params=params, masks=masks, mask_state=mask_state,
            opt_state=opt_state, model_state=model_state, survey=survey,
        )  # fmt: skip
        return state, metrics

    return step
