"""Gates: trained parameters that change the forward pass, and the masks that follow from them.

A mask transform looks at weights and gradients; a method with gates runs the network in another way
(with noise, with some units closed) and learns from the loss which weights are of use. What it
needs for that is the network on this step's batch, as `Forward` gives it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks import (
    MaskContext,
    MaskTransform,
    cond_inplace,
    masked_leaves,
    schedule,
    update_leaves,
    when,
)

Intercept = Callable[..., Any]
Leaves = Mapping[str, jax.Array]
IsActive = Callable[[Leaves, Any], Leaves]


class Forward(NamedTuple):
    """The network on the batch of one step.

    Attributes:
      logits: `(params, intercept=None) → ((batch, classes) float32, model state)`; `intercept` is
        an interceptor as `flax.linen.intercept_methods` takes it.
      loss: `(params, intercept=None) → (loss, out)`: mean cross-entropy, () float32 in nats, and
        what else came of it, to be passed on as it is.
      labels: (batch,) int; None where nothing asks for them.
      mean: Averages a tree over the devices of `pmap`; nothing under `jit`.
    """

    logits: Callable[..., tuple[jax.Array, Any]]
    loss: Callable[..., tuple[jax.Array, Any]]
    labels: jax.Array | None
    mean: Callable[[Any], Any] = lambda tree: tree


class GateContext(NamedTuple):
    """What gates may look at in one step.

    Attributes:
      step: () int32, steps done before this one.
      masks: Bool, of the params' structure.
      key: A random key of this step (and device) alone.
    """

    step: jax.Array
    masks: Any
    key: jax.Array


class Gates(NamedTuple):
    """Three pure functions that put gates into a network.

    Attributes:
      init: `(masks, params, key) → gates`, a dict by path of each maskable leaf.
      loss: `(forward, params, gates, context) → (loss, out)`, to be minimised over both params and
        gates; `out` is what `forward.loss` gave.
      network: `(params, gates, masks, step) → params` of the network at test time, without gates.
      masked: Whether the forward pass gets masked weights; else masks are for the test only.
      learn: `step → () bool`, whether gates may change; where False, momentum does not move them
        either.
      reads_network: Whether `loss` does more than call `forward.loss(params)`, so that the network
        must allow it (interceptors, labels).
    """

    init: Callable[[Any, Any, jax.Array], dict[str, Any]]
    loss: Callable[[Forward, Any, Any, GateContext], tuple[jax.Array, Any]]
    network: Callable[[Any, Any, Any, jax.Array], Any]
    masked: bool = True
    learn: Callable[[jax.Array], jax.Array] = schedule.always
    reads_network: bool = True


def no_gates() -> Gates:
    """The network as it is."""
    return Gates(
        init=lambda masks, params, key: {},
        loss=lambda forward, params, gates, context: forward.loss(params),
        network=lambda params, gates, masks, step: params,
        reads_network=False,
    )


def masks_from_gates(
    living: IsActive,
    *,
    every: int,
    last: int,
    forever: bool = False,
) -> MaskTransform:
    """Masks that follow gates: at each event a weight lives if its gate says so.

    Args:
      living: `({path: weights}, gates) → {path: bool}`, broadcast to the weights' shapes.
      every: Steps between events.
      last: A further event, at the last step.
      forever: Whether what is removed stays removed.
    """

    def init_fn(masks: Any, params: Any, key: jax.Array) -> tuple[Any, tuple]:
        del params, key
        return masks, ()

    def update_fn(masks: Any, state: tuple, ctx: MaskContext) -> tuple[Any, tuple]:
        def event(old: dict[str, jax.Array]) -> dict[str, jax.Array]:
            new = living(masked_leaves(masks, ctx.params), ctx.gates)
            new = {p: jnp.broadcast_to(new.get(p, old[p]), old[p].shape) for p in old}
            return {p: old[p] & new[p] for p in old} if forever else new

        return update_leaves(
            masks, cond_inplace(ctx.may_update, event, masked_leaves(masks))
        ), state

    transform = MaskTransform(init_fn, update_fn)
    return when(transform, lambda step: ((step % every == 0) & (step > 0)) | (step == last))
