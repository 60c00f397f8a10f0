"""Lottery tickets: iterative magnitude pruning with rewinding of the weights."""

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp

from gpnas._settings import Count, Fraction
from gpnas.errors import UserError
from gpnas.masks import (
    MaskContext,
    MaskTransform,
    allocate,
    apply,
    cond_inplace,
    init_masks,
    masked_leaves,
    schedule,
    select,
    tree,
    update_leaves,
)
from gpnas.methods._method import EvalContext, Forecast, Hooks, Method


@flax.struct.dataclass
class Tickets:
    """Mask state across the trainings of a run.

    Attributes:
      start: Parameters to which tickets are rewound.
      ticket: Masks of the ticket of this round.
      done: () int32, completed trainings.
      key: Random key, for controls.
    """

    start: Any
    ticket: Any
    done: jax.Array
    key: jax.Array


def lottery(
    *,
    total_steps: int,
    rounds: Count = 15,
    fraction: Fraction = 0.2,
    last_fraction: Fraction = 0.1,
    rewind_at: Fraction = 0.0,
    controls: bool = False,
    output_layers: Collection[str] = (),
    shapes: allocate.Shapes | None = None,
) -> Method:
    """Prunes iteratively by magnitude and rewinds the weights to their initial values.

    A run consists of one training of the dense network and one of a ticket in each round, all of
    equal length. After each, the smallest active weights of each leaf are pruned, and the others
    are rewound to their initial values (or to those of a later step), with a fresh optimizer state.
    With controls, two further networks are trained in each round before the ticket: its masks with
    reinitialised weights, and its initial weights with masks shuffled within each leaf. Trainings
    end at evaluations, so each is a whole number of evaluations.

    Args:
      total_steps: Length of the run, over all trainings.
      rounds: Number of prunings.
      fraction: Fraction of a leaf's active weights that is pruned per round.
      last_fraction: `fraction` of the output layer.
      rewind_at: Step to which tickets are rewound, as a fraction of the first training.
      controls: Whether controls are trained.
      output_layers: Paths of the output layers' weights (`units.output_layers`); if empty, the last
        leaf in the natural order of paths.
      shapes: `{path: shape}` of the masked leaves, for the forecast; without it, all are expected
        to be pruned by `fraction`.

    Raises:
      UserError: If the run has fewer steps than trainings.

    References:
      Frankle & Carbin 2019 (arXiv:1803.03635), section 2 and figures 3 and 4; Frankle et al. 2019
      (arXiv:1903.01611) for rewinding to a later step.
    """
    turns = 3 if controls else 1
    trainings = 1 + turns * rounds
    if total_steps < trainings:
        allowed = f"at most {(total_steps - 1) // turns} in {total_steps} steps"
        raise UserError("method.rounds", rounds, f"{allowed}, for {trainings} trainings")
    length = total_steps // trainings
    share = _output_share(shapes or {}, output_layers)
    rewind = min(round(rewind_at * length), length - 1)  # the next training starts in step `length`

    def init_fn(masks: Any, params: Any, key: jax.Array) -> tuple[Any, Tickets]:
        return masks, Tickets(params, masks, jnp.int32(0), key)

    def update_fn(masks: Any, state: Tickets, ctx: MaskContext) -> tuple[Any, Tickets]:
        now = jnp.asarray(ctx.step == rewind)
        start = cond_inplace(now, lambda _: ctx.params, state.start)
        return masks, dataclasses.replace(state, start=start)

    def begin_next(state: Any, context: EvalContext) -> Any:
        done = int(state.mask_state.done) + 1
        if int(state.step) < done * length or done >= trainings:
            return state
        turn = (done - 1) % turns if controls else turns - 1  # the ticket is the last of a round
        was_ticket = done == 1 or turn == 0
        ticket = (
            prune_smallest(state.masks, state.params, fraction, last_fraction, output_layers)
            if was_ticket
            else state.mask_state.ticket
        )
        return _train_next(state, context, ticket, done, turn if controls else None)

    def curve(step: jax.Array) -> jax.Array:
        cuts = (step // length + turns - 1) // turns
        kept, kept_last = (
            jnp.float32(1 - each) ** jnp.minimum(cuts, rounds) for each in (fraction, last_fraction)
        )
        return kept + share * (kept_last - kept)

    return Method(
        MaskTransform(init_fn, update_fn, schedule.never, lambda step: step == rewind),
        Forecast(curve),
        trainings=trainings,
        hooks=Hooks(on_eval=begin_next),
    )


def _train_next(
    state: Any, context: EvalContext, ticket: Any, done: int, control: int | None
) -> Any:
    """Returns the train state at the start of training a ticket, or its control 0 or 1."""
    memory = state.mask_state
    masks, params, key = ticket, memory.start, jax.random.fold_in(memory.key, done)
    if control == 0:
        params = redrawn(params, key)
    elif control == 1:
        masks = shuffled(ticket, key)
    params = apply(masks, params)
    return dataclasses.replace(
        state,
        masks=masks,
        params=params,
        opt_state=context.init_opt_state(params),
        mask_state=dataclasses.replace(memory, ticket=ticket, done=jnp.int32(done)),
    )


def _output_share(shapes: allocate.Shapes, output_layers: Collection[str]) -> float:
    """Returns the fraction of all weights that are in output layers; 0 without shapes."""
    sizes = {path: math.prod(shape) for path, shape in shapes.items()}
    last = _outputs(sizes, output_layers)
    return sum(size for path, size in sizes.items() if path in last) / max(sum(sizes.values()), 1)


def _outputs(paths: Iterable[str], output_layers: Collection[str]) -> Collection[str]:
    return output_layers or sorted(paths, key=tree.natural_order)[-1:]


def prune_smallest(
    masks: Any,
    params: Any,
    fraction: float,
    last_fraction: float,
    output_layers: Collection[str] = (),
) -> Any:
    """Removes the given fraction of each leaf's active weights, those of smallest `|w|`."""
    active, weights = masked_leaves(masks), masked_leaves(masks, params)
    last = _outputs(active, output_layers)

    def leaf(path: str, mask: jax.Array) -> jax.Array:
        keep = 1 - (last_fraction if path in last else fraction)
        k = jnp.round(keep * jnp.sum(mask, dtype=jnp.float32)).astype(jnp.int32)
        return select.exact_top_k(jnp.abs(weights[path]), k, jax.random.key(0), mask)

    return update_leaves(masks, {path: leaf(path, mask) for path, mask in active.items()})


def redrawn(params: Any, key: jax.Array) -> Any:
    """Reinitialises weights by a permutation of each leaf, which preserves their distribution."""
    return _permuted(params, masked_leaves(init_masks(params), params), key)


def shuffled(masks: Any, key: jax.Array) -> Any:
    """Shuffles the masks within each leaf."""
    return _permuted(masks, masked_leaves(masks), key)


def _permuted(values: Any, leaves: Mapping[str, jax.Array], key: jax.Array) -> Any:
    keys = tree.keys_for(key, dict(leaves))
    flat = {p: jax.random.permutation(keys[p], x.reshape(-1)) for p, x in leaves.items()}
    return update_leaves(values, {p: flat[p].reshape(x.shape) for p, x in leaves.items()})
