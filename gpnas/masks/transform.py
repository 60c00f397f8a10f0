"""Mask transforms: pairs of pure functions, and the combinators that make new ones from them.

As an optax transformation turns gradients into updates, a mask transform turns masks into masks.
Both of its functions thread the masks through, so transforms chain as functions compose::

    masks, state = transform.init(full(params), params, key)
    masks, state = transform.update(masks, state, MaskContext(step, params, grads, key))

`update` is called at *every* step, so that a score can keep a moving average, and changes the masks
only at its events. When those are is said by the combinators (`every`, `between`, `switch`), which
narrow `MaskContext.event`, a traced bool: the whole schedule is one compiled program.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
from jax import lax

from gpnas.masks import tree

Masks = Any
State = Any


def always(step: jax.Array) -> jax.Array:
    """True at every step."""
    return jnp.ones(jnp.shape(step), bool)


def never(step: jax.Array) -> jax.Array:
    """False at every step."""
    return jnp.zeros(jnp.shape(step), bool)


def within(start: int, stop: int | None) -> Callable[[jax.Array], jax.Array]:
    """`step → () bool`, True at steps `start <= step < stop` (no end if `stop` is None)."""
    return lambda step: (step >= start) & (True if stop is None else step < stop)


def sometimes(condition: jax.Array | bool, f: Callable[[Any], Any], x: Any) -> Any:
    """`f(x)` if the condition holds, else `x`, without copying what does not change.

    As `lax.cond(condition, f, lambda x: x, x)`; but there XLA copies all of `x` when nothing is to
    be done, and here it stays in place (a loop of one turn or none). A Python bool is decided when
    traced.
    """
    if isinstance(condition, bool):
        return f(x) if condition else x
    done = (jnp.zeros((), bool), x)
    return lax.while_loop(lambda c: c[0], lambda c: (done[0], f(c[1])), (condition, x))[1]


@flax.struct.dataclass
class MaskContext:
    """What a mask transform may look at in one step.

    Attributes:
      step: () int32, steps done before this one.
      params: The parameters, zero where masked (unless a method keeps them, as Top-KAST does).
      grads: Dense gradients, taken through the masked parameters, averaged over devices.
      key: A random key of this step alone.
      event: () bool, whether masks may change now; combinators narrow it.
      gates: Trained parameters of a changed forward pass, where a method has them.
    """

    step: jax.Array
    params: Any
    grads: Any
    key: jax.Array
    event: jax.Array | bool = True
    gates: Any = ()


class MaskTransform(NamedTuple):
    """A pair of pure functions that decides which parameters live, and when it may.

    Attributes:
      init: `(masks, params, key) → (masks, state)`: the masks to start with and what to remember.
      update: `(masks, state, context) → (masks, state)`: one step of development.
      may_change: `step → () bool`, whether `update` may change masks at a step. A train step need
        do nothing about masks at the others; one that ignores this is right as well, and slower.
    """

    init: Callable[[Masks, Any, jax.Array], tuple[Masks, State]]
    update: Callable[[Masks, State, MaskContext], tuple[Masks, State]]
    may_change: Callable[[jax.Array], jax.Array] = always


def identity() -> MaskTransform:
    """Leaves the masks as they are: a dense network, or the masks that it was given."""
    return MaskTransform(
        lambda masks, params, key: (masks, ()), lambda masks, state, ctx: (masks, state), never
    )


def carry(begin: Callable[[Masks, Any, jax.Array], State]) -> MaskTransform:
    """Leaves the masks as they are and keeps a state, for what works on it between epochs.

    Args:
      begin: `(masks, params, key) → state` to begin with.
    """
    return MaskTransform(
        lambda masks, params, key: (masks, begin(masks, params, key)),
        lambda masks, state, ctx: (masks, state),
        never,
    )


def chain(*transforms: MaskTransform) -> MaskTransform:
    """One transform after the other, each on the masks that the last one left.

    Args:
      *transforms: Mask transforms; each gets a random key of its own.

    Returns:
      A transform whose state is the tuple of their states.
    """

    def init_fn(masks: Masks, params: Any, key: jax.Array) -> tuple[Masks, State]:
        states = []
        for i, transform in enumerate(transforms):
            masks, state = transform.init(masks, params, jax.random.fold_in(key, i))
            states.append(state)
        return masks, tuple(states)

    def update_fn(masks: Masks, states: State, ctx: MaskContext) -> tuple[Masks, State]:
        new_states = []
        for i, (transform, state) in enumerate(zip(transforms, states, strict=True)):
            own = dataclasses.replace(ctx, key=jax.random.fold_in(ctx.key, i))
            masks, state = transform.update(masks, state, own)
            new_states.append(state)
        return masks, tuple(new_states)

    def may_change(step: jax.Array) -> jax.Array:
        return jnp.any(jnp.array([transform.may_change(step) for transform in transforms]), axis=0)

    return MaskTransform(init_fn, update_fn, may_change)


def masked(transform: MaskTransform, where: tree.Filter) -> MaskTransform:
    """Lets a transform see and change some leaves only.

    Args:
      transform: The transform to restrict.
      where: A predicate `(path, param) → bool` or a glob over paths (`"Dense_*/kernel"`).

    Returns:
      A transform for which all the other leaves count as not maskable.
    """
    matches = tree.matcher(where)

    def hide(masks: Masks, params: Any) -> Masks:
        def leaf(path: tuple, mask: jax.Array, param: jax.Array) -> jax.Array:
            return mask if matches(tree.path_name(path), param) else jnp.ones((), bool)

        return jax.tree.map_with_path(leaf, masks, params)

    def init_fn(masks: Masks, params: Any, key: jax.Array) -> tuple[Masks, State]:
        if isinstance(where, str):
            flat = jax.tree_util.tree_flatten_with_path(masks)[0]
            tree.check_globs("masked", [where], [tree.path_name(path) for path, _ in flat])
        inner, state = transform.init(hide(masks, params), params, key)
        return tree.put(masks, tree.maskable(inner)), state

    def update_fn(masks: Masks, state: State, ctx: MaskContext) -> tuple[Masks, State]:
        inner, state = transform.update(hide(masks, ctx.params), state, ctx)
        return tree.put(masks, tree.maskable(inner)), state

    return MaskTransform(init_fn, update_fn, transform.may_change)


def when(transform: MaskTransform, condition: Callable[[jax.Array], jax.Array]) -> MaskTransform:
    """Allows events only at steps where `condition(step)`; statistics are kept at every step."""

    def update_fn(masks: Masks, state: State, ctx: MaskContext) -> tuple[Masks, State]:
        quiet = ctx.event is False  # known while tracing: then nothing of an event is compiled
        event = False if quiet else jnp.logical_and(ctx.event, condition(ctx.step))
        return transform.update(masks, state, dataclasses.replace(ctx, event=event))

    def may_change(step: jax.Array) -> jax.Array:
        return transform.may_change(step) & condition(step)

    return MaskTransform(transform.init, update_fn, may_change)


def every(n: int, transform: MaskTransform) -> MaskTransform:
    """Allows events at steps 0, n, 2n, 3n … only.

    Raises:
      ValueError: If n is below 1.
    """
    if n < 1:
        raise ValueError(f"every: got {n}, allowed: 1 or more steps")
    return when(transform, lambda step: step % n == 0)


def between(start: int, stop: int | None, transform: MaskTransform) -> MaskTransform:
    """Allows events at steps `start <= step < stop` (no end if `stop` is None)."""
    return when(transform, within(start, stop))


def switch(transforms: Mapping[int, MaskTransform]) -> MaskTransform:
    """Hands the masks from one transform to the next: `{0: grow, 1000: prune}`.

    Args:
      transforms: First step → transform. Only the transform in charge has events, and only the
        first chooses masks to start with; all of them keep their statistics, so one that takes over
        knows the gradients that came before.

    Raises:
      ValueError: If there is none, or none is in charge at step 0.
    """
    starts = sorted(transforms)
    if not starts or starts[0] != 0:
        raise ValueError(f"switch: got first steps {starts}, allowed: some that begin with 0")

    def late(transform: MaskTransform) -> MaskTransform:
        def init_fn(masks: Masks, params: Any, key: jax.Array) -> tuple[Masks, State]:
            return masks, transform.init(masks, params, key)[1]

        return transform._replace(init=init_fn)

    turns = {a: late(transforms[a]) if a else transforms[a] for a in starts}
    stops = [*starts[1:], None]
    return chain(*(between(a, b, turns[a]) for a, b in zip(starts, stops, strict=True)))
