"""MACs of Flax modules."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpnas.models.call import infer
from gpnas.units import Macs, macs


def network_macs(module: nn.Module, variables: Any, image_shape: Sequence[int]) -> Macs:
    """Counts the MACs of a Flax module in evaluation, by path in its parameters.

    Args:
      module: The network, see `gpnas.models.call`.
      variables: Its variables or shapes.
      image_shape: (height, width, channels).
    """
    others = {name: tree for name, tree in variables.items() if name != "params"}

    def apply(params: Any, others: Any, images: jax.Array) -> Any:
        return infer(module, {"params": params, **others}, images)

    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    both = variables["params"], others
    counted = macs(lambda both, images: apply(both[0], both[1], images), both, images)
    own = {p.removeprefix("0/"): n for p, n in counted.per_weight.items() if p.startswith("0/")}
    rest = {p: n for p, n in counted.per_weight.items() if not p.startswith("0/")}
    return Macs(own, counted.others + Macs(rest, 0).total((variables["params"], others)))
