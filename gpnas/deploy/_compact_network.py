"""Removes the inactive units of a pruned network for export."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError
from jax import export

from gpnas import models, units
from gpnas.deploy._formats import Apply, inference, per_image


class Network(NamedTuple):
    """A network to be exported.

    Attributes:
      apply: `(variables, images) → logits`; images are standardized; any batch size.
      variables: Its variables.
      architecture: Description by `gpnas.models.architecture`; None for other modules.
    """

    apply: Apply
    variables: Any
    architecture: Mapping[str, Any] | None

    @property
    def params(self) -> int:
        """Number of parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"]))

    def macs(self, image_shape: Sequence[int]) -> int:
        """MACs per image of shape (height, width, channels), see `gpnas.units.macs`."""
        image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        return units.macs(self.apply, self.variables, image).total(self.variables)


def dense_network(model: models.Model, variables: Any, image_shape: Sequence[int]) -> Network:
    """Returns the network in full shape, with zeros for masked weights; see `compact_network`."""
    known = models.is_known(model.module)
    architecture = models.architecture(model.module, variables["params"]) if known else None
    infer = model.infer if known else _for_any_batch(model.infer, variables, image_shape)
    return Network(infer, variables, architecture)


def compact_network(
    model: models.Model,
    variables: Any,
    image_shape: Sequence[int],
    unit_masks: units.UnitMasks | None = None,
) -> Network:
    """Removes the inactive units of a network; constant units are folded first where possible.

    A network of `gpnas.models` is rebuilt with the remaining widths, and without inactive blocks
    (only blocks are removed from networks without width fields). Any other Linen module is applied
    with layers as wide as their kernels if that computes the same as the traced function on smaller
    arrays; otherwise, and for other libraries, the traced function is used.

    Args:
      model: The network.
      variables: Its masked variables.
      image_shape: (height, width, channels).
      unit_masks: `{group: (size,) bool}`; by default the active units after folding constants
        (`units.active_units`, `units.fold_constants`).

    Raises:
      UserError: If `unit_masks` does not match the network's groups.
    """
    apply, module = model.infer, model.module
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    groups = units.discover(apply, variables, images)
    blocks = models.removable_blocks(module)
    masks = unit_masks
    if masks is None:
        variables = units.fold_constants(apply, variables, groups, _random_images(image_shape))
        params = {"params": variables["params"]}  # statistics of inactive blocks' norms are ignored
        masks = units.active_units(units.with_blocks(groups, variables, blocks), params)
    own = {name: mask for name, mask in masks.items() if not units.is_block(name)}
    own = own if models.has_widths(module) else {}  # the fields could not describe the result
    small_apply, small = units.compact(apply, variables, groups, own, images)
    if not models.is_known(module):
        narrow = None if module is None else _narrower(module)
        if narrow is not None and _agree(narrow, small_apply, small, image_shape):
            return Network(_for_any_batch(narrow, small, image_shape), small, None)
        return Network(per_image(small_apply, small, image_shape), small, None)
    small = units.without_blocks(small, blocks, masks)
    architecture = models.architecture(module, small["params"])
    built = models.from_architecture(architecture, dtype=jnp.float32, conv="xla")
    return Network(inference(built), small, architecture)


def _for_any_batch(apply: Apply, variables: Any, image_shape: Sequence[int]) -> Apply:
    """Returns the function, or its program of one image if it needs the batch size (`len(x)`)."""
    images = jax.ShapeDtypeStruct((*export.symbolic_shape("b"), *image_shape), jnp.float32)
    try:
        jax.eval_shape(apply, variables, images)
    except Exception:  # a user's network may raise anything
        return per_image(apply, variables, image_shape)
    return apply


def _narrower(module: nn.Module) -> Apply:
    """Makes dense layers and convolutions as wide as their kernels."""

    def fit(
        call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext
    ) -> Any:
        layer = context.module
        if context.method_name == "__call__" and isinstance(layer, nn.Dense | nn.Conv):
            params = layer.variables["params"]
            width = params["kernel"].shape[-1]
            if layer.features != width:
                fitting = layer.clone(features=width, parent=None, name=None)
                return fitting.apply({"params": params}, *args, **kwargs)
        return call(*args, **kwargs)

    def apply(variables: Any, images: jax.Array) -> jax.Array:
        with nn.intercept_methods(fit):
            return inference(module)(variables, images)

    return apply


def _random_images(image_shape: Sequence[int]) -> jax.Array:
    return jax.random.normal(jax.random.key(0), (4, *image_shape))


def _agree(apply: Apply, other: Apply, variables: Any, image_shape: Sequence[int]) -> bool:
    """Returns whether a function can be called and agrees with another one on random images."""
    images = _random_images(image_shape)
    try:
        found = apply(variables, images)
    except (FlaxError, TypeError, ValueError):  # a custom layer with a fixed width
        return False
    return np.allclose(found, other(variables, images), rtol=1e-4, atol=1e-5)
