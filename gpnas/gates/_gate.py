"""Gates: trained parameters that change the forward pass, and the masks derived from them.

A mask transform receives weights and gradients only. A method with gates changes the forward pass
(by noise, or by closing units) and trains the gates' parameters on the loss. It receives the
network and the batch of a step as `Forward`.
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

#: `(next_fn, args, kwargs, context) → outputs`, the argument of `flax.linen.intercept_methods`.
Intercept = Callable[..., Any]
#: `{path: leaf}`.
Leaves = Mapping[str, jax.Array]
#: `({path: weights}, gates) → {path: bool}`, broadcast to the shapes of the weights.
IsActive = Callable[[Leaves, Any], Leaves]


class Forward(NamedTuple):
    """The network applied to the batch of one step.

    Attributes:
      logits: `(params, intercept=None) → ((batch, classes) float32, model state)`; `intercept` is
        an interceptor for `flax.linen.intercept_methods`.
      loss: `(params, intercept=None) → (loss, out)`: the task's loss, () float32, and auxiliary
        output, to be returned unchanged.
      labels: The targets of the batch, for example (batch,) int classes; None without any.
      mean: Averages a tree over a mapped axis of devices; the identity without one.
    """

    logits: Callable[..., tuple[jax.Array, Any]]
    loss: Callable[..., tuple[jax.Array, Any]]
    labels: jax.Array | None
    mean: Callable[[Any], Any] = lambda tree: tree


class GateContext(NamedTuple):
    """Inputs of gates at one step.

    Attributes:
      step: () int32, number of steps before this one.
      masks: Masks, bool, of the structure of the params.
      key: Random key of this step (and device).
    """

    step: jax.Array
    masks: Any
    key: jax.Array


class Gates(NamedTuple):
    """Pure functions that add gates to a network.

    Attributes:
      init: `(masks, params, key) → gates`, a dict by path of each masked leaf.
      loss: `(forward, params, gates, context) → (loss, out)`, minimised over params and gates;
        `out` is the auxiliary output of `forward.loss`.
      network: `(params, gates, masks, step) → params` of the network at test time, without gates.
      masked: Whether the forward pass in training uses masked weights; else only the test does.
      learn: `step → () bool`, whether gates may change; if False, not even by momentum.
      reads_network: Whether `loss` uses more than `forward.loss(params)` (interceptors, labels),
        which the network must support.
    """

    init: Callable[[Any, Any, jax.Array], dict[str, Any]]
    loss: Callable[[Forward, Any, Any, GateContext], tuple[jax.Array, Any]]
    network: Callable[[Any, Any, Any, jax.Array], Any]
    masked: bool = True
    learn: Callable[[jax.Array], jax.Array] = schedule.always
    reads_network: bool = True


def no_gates() -> Gates:
    """Returns gates that leave the network unchanged."""
    return Gates(
        init=lambda masks, params, key: {},
        loss=lambda forward, params, gates, context: forward.loss(params),
        network=lambda params, gates, masks, step: params,
        reads_network=False,
    )


def masks_from_gates(
    is_active: IsActive, *, every: int, last: int, forever: bool = False
) -> MaskTransform:
    """Computes masks from gates at each mask update.

    Args:
      is_active: `({path: weights}, gates) → {path: bool}`, broadcast to the shapes of the weights.
      every: Steps between mask updates.
      last: Step of one further mask update, usually the last of the run.
      forever: Whether pruned weights stay pruned.

    Raises:
      ValueError: If `every` is below 1.
    """
    schedule.check_steps("every", every)

    def init_fn(masks: Any, params: Any, key: jax.Array) -> tuple[Any, tuple]:
        del params, key
        return masks, ()

    def update_fn(masks: Any, state: tuple, ctx: MaskContext) -> tuple[Any, tuple]:
        def recompute(old: dict[str, jax.Array]) -> dict[str, jax.Array]:
            new = is_active(masked_leaves(masks, ctx.params), ctx.gates)
            new = {p: jnp.broadcast_to(new.get(p, old[p]), old[p].shape) for p in old}
            return {p: old[p] & new[p] for p in old} if forever else new

        return update_leaves(
            masks, cond_inplace(ctx.may_update, recompute, masked_leaves(masks))
        ), state

    transform = MaskTransform(init_fn, update_fn, may_observe=schedule.never)
    return when(transform, lambda step: ((step % every == 0) & (step > 0)) | (step == last))
