"""From a pruned network to the one that is exported: without the units that nothing reads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError

from gpnas import models, units
from gpnas.deploy.formats import Apply, each_image, inference


class Network(NamedTuple):
    """A network to be exported.

    Attributes:
      apply: `(variables, images) → logits`; images are standardised, of any number.
      variables: Its variables.
      architecture: As `gpnas.models.architecture` gives it; None for a module that is not ours.
    """

    apply: Apply
    variables: Any
    architecture: Mapping[str, Any] | None

    @property
    def params(self) -> int:
        """Number of its parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"]))

    def macs(self, image_shape: Sequence[int]) -> int:
        """MACs of one image of (height, width, channels), see `gpnas.units.macs`."""
        image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        return units.macs(self.apply, self.variables, image).total(self.variables)


def whole(module: nn.Module, variables: Any) -> Network:
    """The network as it is, masked weights being zeros."""
    known = models.is_known(module)
    architecture = models.architecture(module, variables["params"]) if known else None
    return Network(inference(module), variables, architecture)


def smaller(
    module: nn.Module,
    variables: Any,
    image_shape: Sequence[int],
    unit_masks: units.UnitMasks | None = None,
) -> Network:
    """The network without its dead units, those that are constant among them if they can be.

    A network of `gpnas.models` is built anew with the widths that are left, and whole blocks may be
    gone (of one without widths of its own, nothing but blocks). Any other module is applied with
    layers as wide as their kernels are now, if that computes the same as the traced function on
    smaller arrays; else it is the latter.

    Args:
      module: The network, see `gpnas.models.call`.
      variables: Its variables, masked.
      image_shape: (height, width, channels).
      unit_masks: Of the units that stay; by default those that something reads when constants are
        folded (`units.fold_constants`).
    """
    apply = inference(module)
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    groups = units.discover(apply, variables, images)
    blocks = models.blocks(module)
    masks = unit_masks
    if masks is None:
        variables = units.fold_constants(apply, variables, groups, _random_images(image_shape))
        params = {"params": variables["params"]}  # a silent norm may have statistics
        masks = units.active_units(units.with_blocks(groups, variables, blocks), params)
    own = {name: mask for name, mask in masks.items() if not units.is_block(name)}
    own = own if models.has_widths(module) else {}  # whose fields could not say what is left
    small_apply, small = units.compact(apply, variables, groups, own, images)
    if not models.is_known(module):
        narrow = _narrower(module)
        fits = _agree(narrow, small_apply, small, image_shape)
        return Network(narrow if fits else each_image(small_apply, small, image_shape), small, None)
    small = units.without_blocks(small, blocks, masks)
    architecture = models.architecture(module, small["params"])
    built = models.build(architecture, dtype=jnp.float32, conv="xla")
    return Network(inference(built), small, architecture)


def _narrower(module: nn.Module) -> Apply:
    """A module whose dense layers and convolutions are as wide as the kernels that they get."""

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
    """Whether two functions can be called so, and give the same on random images."""
    images = _random_images(image_shape)
    try:
        found = apply(variables, images)
    except (FlaxError, TypeError, ValueError):  # a layer of its own, with a width of its own
        return False
    return np.allclose(found, other(variables, images), rtol=1e-4, atol=1e-5)
