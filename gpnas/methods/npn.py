"""Neural plasticity networks (NPN): sparsification or expansion by binary gates."""

import dataclasses
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp

from gpnas._settings import Count, Decay, Fraction, Penalties, Positive
from gpnas.gates import binary, groups, masks_from_gates
from gpnas.masks import chain, schedule, stateful_identity
from gpnas.methods._method import EvalContext, Hooks, Method, gated

FIXED = 5000.0  # k that makes gates 0 or 1 by the sign of φ, with zero gradient


def npn_sparsify(
    *,
    total_steps: int,
    images: int,
    penalties: Penalties = (0.1,),
    decay: Decay = 0.0,
    sharpness: Positive = 7.0,
    start_at: Fraction = 0.2,
    stop_at: Fraction = 0.7,
    every: Count,
) -> Method:
    """Trains all units, then the gates as well, which close some, then the remaining units.

    Args:
      total_steps: Length of the run.
      images: Number of training examples.
      penalties: λ per weight, 0 or more: one for all, or one per layer in natural order of paths.
      decay: Weight decay of weights with an open gate, in [0, 1).
      sharpness: k while gates are trained; before and after, gates are fixed.
      start_at, stop_at: Start and end of the training of gates, as fractions of the run.
      every: Steps between mask updates.

    References:
      Li & Ji 2021 (arXiv:1908.08118), sections 3 and 4.
    """
    learn = schedule.within(round(start_at * total_steps), round(stop_at * total_steps))
    gates = binary.bernoulli(
        penalties, stages(sharpness, learn), images,
        decay=decay, grouping=groups.inputs_and_filters, learn=learn,
    )  # fmt: skip
    transform = masks_from_gates(binary.nonzero_at_test(), every=every, last=total_steps - 1)
    return gated(transform, gates, binary.ARM_STEP_COST)


def npn_expand(
    *,
    total_steps: int,
    images: int,
    penalties: Penalties = (0.1,),
    decay: Decay = 0.0,
    first_units: Count = 3,
    sharpness: Positive = 1.0,
    start_at: Fraction = 0.2,
    stop_at: Fraction = 0.7,
    every: Count,
    output_layers: Collection[str] = (),
) -> Method:
    """Starts with a few hidden units per layer and grows units by the validation loss.

    While gates are trained, whenever the validation loss is below that at the last expansion, the
    gate of the next unit of each layer, in index order, is set to an open probability of one half.

    Args:
      total_steps, images, penalties, decay, start_at, stop_at, every: As for `npn_sparsify`.
      first_units: Initial units of each hidden layer.
      sharpness: k while gates are trained.
      output_layers: Paths of the output layers' weights, which have no gates
        (`units.output_layers`); if empty, the last leaf in the natural order of paths.

    References:
      Li & Ji 2021 (arXiv:1908.08118), section 3.3.
    """
    grouping = groups.hidden_units(output_layers)
    start, stop = round(start_at * total_steps), round(stop_at * total_steps)
    learn = schedule.within(start, stop)
    gates = binary.bernoulli(
        penalties, stages(sharpness, learn), images,
        decay=decay, first=first_units, grouping=grouping, learn=learn,
    )  # fmt: skip
    transform = chain(
        masks_from_gates(binary.nonzero_at_test(grouping), every=every, last=total_steps - 1),
        stateful_identity(
            lambda *_: {"loss": jnp.float32(jnp.inf), "awake": jnp.int32(first_units)}
        ),
    )

    def expand(state: Any, context: EvalContext) -> Any:
        own, memory = state.mask_state
        step = int(state.step)
        if not start <= step < stop or not context.loss < float(memory["loss"]):
            return state
        at = int(memory["awake"])
        aux = {p: g.at[at].set(binary.GROWN) if at < g.size else g for p, g in state.aux.items()}
        memory = {"loss": jnp.float32(context.loss), "awake": jnp.int32(at + 1)}
        return dataclasses.replace(state, aux=aux, mask_state=(own, memory))

    return gated(transform, gates, binary.ARM_STEP_COST)._replace(hooks=Hooks(on_eval=expand))


def stages(sharpness: float, learn: schedule.Schedule) -> schedule.Schedule:
    """Schedule of k in three stages: gates fixed, trained, fixed."""

    def k(step: jax.Array) -> jax.Array:
        return jnp.where(learn(step), sharpness, FIXED)

    return k
