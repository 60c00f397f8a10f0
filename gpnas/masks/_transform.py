"""Mask transforms: pairs of pure functions, and combinators of them.

As an optax transformation turns gradients into updates, a mask transform turns masks into masks.
Both functions take and return masks, so transforms can be chained::

    masks, state = transform.init(init_masks(params), params, key)
    masks, state = transform.update(masks, state, MaskContext(step, params, grads, key))

`update` is called at *every* step, so that a score can keep a moving average. It changes the masks
only at mask updates. Combinators (`every`, `between`, `switch`) set the schedule of mask updates:
they restrict `MaskContext.may_update`, a traced bool, so that the whole schedule is one compiled
program. A mask update that is due at a step with non-finite gradients is deferred to the next step
with finite ones, whether or not the schedule allows an update there.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
from jax import lax

from gpnas.masks import tree
from gpnas.masks._leaves import masked_leaves, update_leaves
from gpnas.masks.schedule import always, check_steps, never, within

#: Bool pytree of the params' structure; a scalar True where a leaf is not masked.
Masks = Any
#: State of a mask transform, any pytree.
State = Any


def _unchanged(x: Any) -> Any:
    return x


def cond_inplace(
    condition: jax.Array | bool,
    f: Callable[[Any], Any],
    x: Any,
    otherwise: Callable[[Any], Any] = _unchanged,
) -> Any:
    """Returns `f(x)` if the condition holds, else `otherwise(x)`, without copying `x`.

    Equivalent to `lax.cond(condition, f, otherwise, x)`, for which XLA copies `x` on a CPU even if
    the condition is False. On a CPU this is a loop of at most one iteration, which updates `x` in
    place. On other backends it is a branch, since each iteration of a loop there synchronises with
    the host. A Python bool is resolved at trace time.

    Args:
      condition: () bool, or a Python bool.
      f, otherwise: `x → x`, of the same structure, shapes and dtypes.
      x: A pytree of arrays.
    """
    if isinstance(condition, bool):
        return f(x) if condition else otherwise(x)
    if jax.default_backend() != "cpu":  # branch 0 must do nothing
        return lax.switch(condition.astype(jnp.int32), [otherwise, f], x)

    def at_most_once(condition: jax.Array, f: Callable[[Any], Any], x: Any) -> Any:
        no = jnp.zeros((), bool)
        return lax.while_loop(lambda c: c[0], lambda c: (no, f(c[1])), (condition, x))[1]

    x = x if otherwise is _unchanged else at_most_once(~condition, otherwise, x)
    return at_most_once(condition, f, x)


@flax.struct.dataclass
class MaskContext:
    """Inputs of a mask transform at one step.

    Attributes:
      step: () int32, number of steps before this one.
      params: Parameters; inactive weights are zero, unless the method keeps their values, as
        Top-KAST does.
      grads: Dense gradients at the masked parameters, averaged over devices.
      key: Random key of this step.
      may_update: () bool, whether masks may change at this step; combinators restrict it. With the
        Python bool False no mask update is compiled.
      gates: Parameters of the gates, if the method has gates.
      branches: Whether control flow skips statistics that are not due at a step; otherwise they are
        computed and discarded. Static.
    """

    step: jax.Array
    params: Any
    grads: Any
    key: jax.Array
    may_update: jax.Array | bool = True
    gates: Any = ()
    branches: bool = flax.struct.field(pytree_node=False, default=True)

    def of_masked(self, masks: Masks) -> "MaskContext":
        """Returns the context of the masked leaves only: params and grads as `{path: leaf}`."""
        return dataclasses.replace(
            self, params=masked_leaves(masks, self.params), grads=masked_leaves(masks, self.grads)
        )


class MaskTransform(NamedTuple):
    """A pair of pure functions that decides which parameters are active.

    Attributes:
      init: `(masks, params, key) → (masks, state)`: the initial masks and state.
      update: `(masks, state, context) → (masks, state)`: called at every step.
      may_change: `step → () bool`, whether `update` may change masks at a step. A hint: a train
        step may skip all work on masks at other steps; ignoring it is correct, but slower.
      may_observe: `step → () bool`, whether `update` may change its state at a step without a mask
        update. A hint, too: `update` need not be called at a step at which neither holds.
    """

    init: Callable[[Masks, Any, jax.Array], tuple[Masks, State]]
    update: Callable[[Masks, State, MaskContext], tuple[Masks, State]]
    may_change: Callable[[jax.Array], jax.Array] = always
    may_observe: Callable[[jax.Array], jax.Array] = always

    def observe(self, masks: Masks, state: State, ctx: MaskContext) -> State:
        """Returns the state after a step without a mask update."""
        return self.update(masks, state, dataclasses.replace(ctx, may_update=False))[1]


def identity() -> MaskTransform:
    """Leaves the masks unchanged: dense training, or training with given masks."""
    return stateful_identity(lambda masks, params, key: ())


def stateful_identity(init_state: Callable[[Masks, Any, jax.Array], State]) -> MaskTransform:
    """Leaves the masks unchanged and keeps a state, for decisions on the host between epochs.

    Args:
      init_state: `(masks, params, key) → state`, the initial state.
    """
    return MaskTransform(
        lambda masks, params, key: (masks, init_state(masks, params, key)),
        lambda masks, state, ctx: (masks, state),
        never,
        never,
    )


def chain(*transforms: MaskTransform) -> MaskTransform:
    """Applies transforms in sequence, each to the masks of the previous one.

    Args:
      *transforms: Mask transforms; each gets its own random key.

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

    def any_of(*hints: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
        return lambda step: jnp.any(jnp.array([hint(step) for hint in hints]), axis=0)

    may_change = any_of(*(transform.may_change for transform in transforms))
    may_observe = any_of(*(transform.may_observe for transform in transforms))
    return MaskTransform(init_fn, update_fn, may_change, may_observe)


def masked(transform: MaskTransform, where: tree.Filter) -> MaskTransform:
    """Restricts a transform to some leaves.

    Args:
      transform: The transform to restrict.
      where: A predicate `(path, param) → bool` or a glob over paths (`"Dense_*/kernel"`).

    Returns:
      A transform that treats all other leaves as not masked.

    Raises:
      ValueError: (on init) If the glob matches no leaf.
    """
    matches = tree.matcher(where)

    def hide(masks: Masks, params: Any) -> Masks:
        def leaf(path: tuple, mask: jax.Array, param: jax.Array) -> jax.Array:
            return mask if matches(tree.path_name(path), param) else jnp.ones((), bool)

        return jax.tree.map_with_path(leaf, masks, params)

    def init_fn(masks: Masks, params: Any, key: jax.Array) -> tuple[Masks, State]:
        if isinstance(where, str):
            tree.check_globs("masked", [where], tree.leaves_by_path(masks))
        inner, state = transform.init(hide(masks, params), params, key)
        return update_leaves(masks, masked_leaves(inner)), state

    def update_fn(masks: Masks, state: State, ctx: MaskContext) -> tuple[Masks, State]:
        inner, state = transform.update(hide(masks, ctx.params), state, ctx)
        return update_leaves(masks, masked_leaves(inner)), state

    return transform._replace(init=init_fn, update=update_fn)


def when(transform: MaskTransform, condition: Callable[[jax.Array], jax.Array]) -> MaskTransform:
    """Restricts mask updates to steps at which `condition(step)` holds; statistics always update.

    Args:
      transform: The transform to restrict.
      condition: `() int32 → () bool`; may be traced.
    """

    def update_fn(masks: Masks, state: State, ctx: MaskContext) -> tuple[Masks, State]:
        off = ctx.may_update is False  # known at trace time: no mask update is compiled
        now = False if off else jnp.logical_and(ctx.may_update, condition(ctx.step))
        return transform.update(masks, state, dataclasses.replace(ctx, may_update=now))

    def may_change(step: jax.Array) -> jax.Array:
        return transform.may_change(step) & condition(step)

    return transform._replace(update=update_fn, may_change=may_change)


def every(transform: MaskTransform, n: int) -> MaskTransform:
    """Restricts mask updates to steps 0, n, 2n, 3n …

    Args:
      transform: The transform to restrict.
      n: Steps between mask updates.

    Raises:
      ValueError: If n is below 1.
    """
    check_steps("every", n)
    return when(transform, lambda step: step % n == 0)


def between(transform: MaskTransform, start: int, stop: int | None) -> MaskTransform:
    """Restricts mask updates to steps `start <= step < stop` (no end if `stop` is None).

    Args:
      transform: The transform to restrict.
      start, stop: Mask updates are at steps in `start <= step < stop`. One that non-finite
        gradients defer may be later.
    """
    return when(transform, within(start, stop))


def switch(transforms: Mapping[int, MaskTransform]) -> MaskTransform:
    """Applies transforms one after another over time: `{0: grow, 1000: prune}`.

    Args:
      transforms: First step → transform. Only the current transform updates masks (an earlier one
        only if non-finite gradients deferred its update), and only the first sets the initial
        masks. All transforms update their statistics at every step, so that
        each starts with averages of past gradients.

    Raises:
      ValueError: If `transforms` is empty, or none starts at step 0.
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
    return chain(*(between(turns[a], a, b) for a, b in zip(starts, stops, strict=True)))
