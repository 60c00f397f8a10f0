"""Masks in the state of an optax transformation: two lines in any training loop.

    tx = sparsify(tx, transform, key)
    params = sparse_params(params, opt_state)  # once after `tx.init`, for the first forward pass

Afterwards `tx.update` and `optax.apply_updates` perform the train step of gpnas: mask transform,
transition, optimizer on masked gradients, masked update.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gpnas.masks import tree
from gpnas.masks._leaves import apply, init_masks, is_weight, masked_leaves
from gpnas.masks._transform import MaskContext, MaskTransform, cond_inplace
from gpnas.masks._transition import GrowInit, grow_at_zero, reinit_grown, reset_moments
from gpnas.masks.axes import AxesTable
from gpnas.masks.finite import pending
from gpnas.masks.summary import density


class SparsifyState(NamedTuple):
    """State of `sparsify`.

    Attributes:
      step: () int32, number of updates before this one.
      masks: Masks, of the structure of the params.
      mask_state: State of the mask transform.
      key: Key data (uint32), from which the key of each step is derived.
      inner: State of the wrapped optimizer.
    """

    step: jax.Array
    masks: Any
    mask_state: Any
    key: jax.Array
    inner: Any


def sparsify(
    tx: optax.GradientTransformation,
    transform: MaskTransform,
    key: jax.Array,
    where: tree.Filter = is_weight,
    grow_init: GrowInit | None = None,
    axes: AxesTable | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Wraps an optimizer so that it trains sparse params; its state contains the masks.

    After each `optax.apply_updates`, inactive weights are exactly zero. Gradients must be dense
    gradients at the masked params, as any loop computes them. The optimizer gets masked gradients,
    and `masks` and `dense_grads` as extra arguments. A step without a mask update costs two
    elementwise selections per masked leaf, of gradients and of updates, and a third, of params, if
    the optimizer reads them.

    Args:
      tx: The optimizer; see `transition` for those supported.
      transform: Decides which weights are active.
      key: Random key. If params are initialised with the first of `jax.random.split(key, 3)`, the
        run equals that of the train step of gpnas, up to XLA's choice of fused multiply-adds.
      where: Which leaves may be masked: a predicate `(path, leaf) → bool` or a glob over paths.
      grow_init: Initial values of grown weights; None: zero.
      axes: `Axes` by path glob, as for `init_masks`: biases of stacked layers are not masked.

    Returns:
      A transformation whose `update` needs `params`. It composes with optax's wrappers.
      Transformations after it in a chain must not change updates of inactive weights; otherwise
      call `sparse_params` after `apply_updates`. Gradient accumulation wraps it:
      `optax.MultiSteps(sparsify(tx, …), n)`.

    Raises:
      ValueError: If `transform` is no mask transform, `tx` no optimizer, or `key` no key; on init,
        if the optimizer's moments do not have the structure of the params, or if it accumulates
        gradients; on update, if `params` is missing or the shapes of gradients differ from theirs.
    """
    _check_arguments(tx, transform, key)
    tx = optax.with_extra_args_support(tx)
    impl = jax.random.key_impl(key)

    def init_fn(params: Any) -> SparsifyState:
        _, mask_key, run_key = jax.random.split(key, 3)
        masks, mask_state = transform.init(_masks_for(params, where, axes), params, mask_key)
        inner = tx.init(apply(masks, params))
        _check_optimizer(tx, masks, params, inner)
        run_key = jax.random.key_data(run_key)
        return SparsifyState(jnp.int32(0), _unboxed_scalars(masks), mask_state, run_key, inner)

    def update_fn(
        grads: Any, state: SparsifyState, params: Any = None, **extra: Any
    ) -> tuple[Any, SparsifyState]:
        if params is None:
            raise ValueError(
                "sparsify: got no params, allowed: `tx.update(grads, opt_state, params)`"
            )
        context = MaskContext(
            step=state.step,
            params=params,
            grads=_dense_grads(grads, params),
            key=jax.random.fold_in(jax.random.wrap_key_data(state.key, impl=impl), state.step),
        )
        masks = jax.tree.unflatten(jax.tree.structure(params), jax.tree.leaves(state.masks))
        masks, mask_state, inner, grown = _update_masks(
            tx, transform, grow_init, state._replace(masks=masks), context
        )
        updates, inner = tx.update(
            jax.tree.map(lambda m, g: g if g is None else apply(m, g), masks, grads),
            inner,
            _add(apply(masks, params), grown),
            masks=masks,
            dense_grads=context.grads,
            **extra,
        )
        updates = _zeroing(masks, params, _add(updates, grown))
        masks = jax.tree.unflatten(jax.tree.structure(state.masks), jax.tree.leaves(masks))
        return updates, SparsifyState(state.step + 1, masks, mask_state, state.key, inner)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def masks_of(opt_state: Any) -> Any:
    """Returns the masks in the state of an optimizer that contains `sparsify`.

    Args:
      opt_state: The state, at any depth of optax wrappers, or `nnx.Optimizer.opt_state`.

    Returns:
      Masks of the structure of the params; a scalar True for params that another optimizer trains
      (`optax.partition`, `optax.masked`).

    Raises:
      ValueError: If the state does not contain a state of `sparsify`.
    """
    found = tree.nodes_of(SparsifyState, opt_state)
    if not found:
        raise ValueError(
            f"masks_of: got {type(opt_state).__name__}, allowed: the state of an optimizer that"
            " `sparsify` wraps"
        )

    masks = functools.reduce(_merge, [_without_variables(state.masks) for state in found])
    return jax.tree.map(
        lambda mask: jnp.ones((), bool) if _is_absent(mask) else mask, masks, is_leaf=_is_absent
    )


def density_of(opt_state: Any) -> jax.Array:
    """Returns () float32, `summary.density` of the masks in an optimizer's state.

    Args:
      opt_state: A state as for `masks_of`.

    Raises:
      ValueError: As `masks_of`.
    """
    return density(masks_of(opt_state))


def sparse_params(params: Any, opt_state: Any) -> Any:
    """Returns params with zeros where the masks in an optimizer's state are False.

    Call it once after `tx.init`, so that the first forward pass is sparse.

    Args:
      params: Params, or a pytree that holds them at the same paths, as an Equinox module does.
      opt_state: A state as for `masks_of`.

    Raises:
      ValueError: If a masked leaf is missing in `params`, or `opt_state` has no masks.
    """
    masks = masked_leaves(masks_of(opt_state))
    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    missing = sorted(masks.keys() - {tree.path_name(path) for path, _ in flat})
    if missing:
        raise ValueError(
            f"sparse_params: got params without {missing[0]}, allowed: those that `tx.init` got"
        )

    def leaf(path: tuple, param: Any) -> Any:
        mask = masks.get(tree.path_name(path))
        return param if mask is None else apply(mask, param)

    return jax.tree.map_with_path(leaf, params)


def _update_masks(
    tx: optax.GradientTransformation,
    transform: MaskTransform,
    grow_init: GrowInit | None,
    state: SparsifyState,
    context: MaskContext,
) -> tuple[Any, Any, Any, tree.Leaves]:
    """Returns masks, their state, the optimizer's state, and values of grown weights by path."""

    def at_masked(masks: Any) -> MaskContext:  # params may be dense before the first update
        return dataclasses.replace(context, params=apply(masks, context.params))

    def observe(carry: tuple) -> tuple:
        masks, mask_state, *others = carry
        return masks, transform.observe(masks, mask_state, at_masked(masks)), *others

    def update(carry: tuple) -> tuple:
        old, mask_state, inner, grown = carry
        own = at_masked(old)
        new, mask_state = transform.update(old, mask_state, own)
        init = grow_init or grow_at_zero
        params = reinit_grown(old, new, own.params, init=init, grads=own.grads, key=own.key)
        inner = reset_moments(tx, old, new, inner, params)
        fresh = apply(jax.tree.map(lambda was, now: now & ~was, old, new), params)
        leaves = masked_leaves(new, fresh)
        return new, mask_state, inner, {path: leaves[path] for path in grown}

    may = jnp.asarray(transform.may_change(state.step)) | pending(state.mask_state)
    grown = {}
    if grow_init is not None:
        grown = jax.tree.map(jnp.zeros_like, masked_leaves(state.masks, context.params))
    return cond_inplace(may, update, (state.masks, state.mask_state, state.inner, grown), observe)


def _dense_grads(grads: Any, params: Any) -> Any:
    """Returns gradients with zeros where they are None (Equinox: integer leaves)."""

    def leaf(path: tuple, param: Any, grad: Any) -> Any:
        if grad is None:
            return jnp.zeros_like(param)
        if jnp.shape(grad) != jnp.shape(param):
            raise ValueError(
                f"sparsify: got a gradient of shape {jnp.shape(grad)} at {tree.path_name(path)},"
                f" allowed: {jnp.shape(param)}, that of the param"
            )
        return grad

    return jax.tree.map_with_path(leaf, params, grads)


def _add(params: Any, grown: tree.Leaves) -> Any:
    """Adds the initial values of grown weights, which are zero in `params`."""
    if not grown:
        return params
    return jax.tree.map_with_path(
        lambda path, p: p + grown[name] if (name := tree.path_name(path)) in grown else p, params
    )


def _zeroing(masks: Any, params: Any, updates: Any) -> Any:
    """Returns updates whose sum with `params` is exactly zero where the mask is False."""

    def leaf(mask: jax.Array, param: jax.Array, update: Any) -> Any:
        if not jnp.ndim(mask):
            return update
        update = jnp.zeros_like(param) if update is None else update
        dtype = jnp.promote_types(update.dtype, param.dtype)  # -param is exact in this dtype
        return jnp.where(mask, update.astype(dtype), -param.astype(dtype))

    return jax.tree.map(leaf, masks, params, updates)


def _check_optimizer(tx: optax.GradientTransformation, masks: Any, params: Any, inner: Any) -> None:
    """Raises ValueError for an optimizer whose state is incompatible with masks."""
    for kind, allowed in (
        (optax.MultiStepsState, "optax.MultiSteps(sparsify(tx, …), n)"),
        (SparsifyState, "one `sparsify` around an optimizer"),
    ):
        if tree.nodes_of(kind, inner):
            raise ValueError(f"sparsify: got {kind.__name__} inside, allowed: {allowed}")
    jax.eval_shape(lambda s, p: reset_moments(tx, masks, masks, s, p), inner, params)


def _is_absent(x: Any) -> bool:
    return isinstance(x, optax.MaskedNode)


def _merge(a: Any, b: Any) -> Any:
    """Returns the masks of `a`, and those of `b` where `a` has none."""
    flat = jax.tree_util.tree_flatten_with_path(b, is_leaf=_is_absent)[0]
    absent = {path for path, mask in flat if _is_absent(mask)}
    return jax.tree_util.tree_map_with_path(
        lambda path, x, y: y if _is_absent(x) else x,
        a,
        b,
        is_leaf=lambda path, x: path in absent or _is_absent(x),
        is_leaf_takes_path=True,
    )


def _is_variable(x: Any) -> bool:  # without importing NNX, which is slow
    return hasattr(x, "get_value")


def _without_variables(masks: Any) -> Any:
    return jax.tree.map(
        lambda x: jax.tree.leaves(x)[0] if _is_variable(x) else x, masks, is_leaf=_is_variable
    )


def _unboxed_scalars(masks: Any) -> Any:
    """Removes variables and boxes around scalar masks; their sharding is that of the param."""

    def is_box(x: Any) -> bool:
        return _is_variable(x) or isinstance(x, flax.core.meta.AxisMetadata)

    def leaf(x: Any) -> Any:
        (mask,) = jax.tree.leaves(x) or (x,)
        return x if jnp.ndim(mask) else mask

    return jax.tree.map(leaf, masks, is_leaf=is_box)


def _check_arguments(tx: Any, transform: Any, key: Any) -> None:
    if not isinstance(transform, MaskTransform):
        hint = "; of a method, `methods.mask_transform(method)`"
        raise ValueError(
            f"sparsify: got {type(transform).__name__}, allowed: a MaskTransform"
            + (hint if hasattr(transform, "transform") else "")
        )
    if not hasattr(tx, "init"):
        raise ValueError(
            f"sparsify: got {tx!r:.60}, allowed: an optimizer, such as optax.adam(1e-3)"
        )
    if not isinstance(key, jax.Array | np.ndarray):
        raise ValueError(f"sparsify: got {key!r:.60}, allowed: a key, such as jax.random.key(0)")


def _masks_for(params: Any, where: tree.Filter, axes: AxesTable | None) -> Any:
    masks = init_masks(params, where, axes)
    if jax.tree.leaves(masks) and not masked_leaves(masks):
        raise ValueError("sparsify: got no leaf that `where` selects, allowed: at least one")
    return masks
