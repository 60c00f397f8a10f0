"""MACs of networks in evaluation mode."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpnas.models._model import linen
from gpnas.units import Macs, macs


def network_macs(module: nn.Module, variables: Any, image_shape: Sequence[int]) -> Macs:
    """Counts the MACs of a Flax module in evaluation mode, by path of its parameters.

    Args:
      module: The network, see `gpnas.models.call`.
      variables: Its variables or shapes.
      image_shape: (height, width, channels).
    """
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return count_macs(linen(module).infer, variables, images)


def count_macs(infer: Callable[[Any, Any], Any], variables: Any, inputs: Any) -> Macs:
    """Counts the MACs of a function of variables and inputs, by path in `variables["params"]`.

    Args:
      infer: `(variables, inputs) → outputs`.
      variables: A dict of "params" and other collections, or their shapes.
      inputs: (1, …), or its shape and dtype.
    """
    others = {name: tree for name, tree in variables.items() if name != "params"}

    def apply(both: Any, inputs: Any) -> Any:
        return infer({"params": both[0], **both[1]}, inputs)

    counted = macs(apply, (variables["params"], others), inputs)
    own = {p.removeprefix("0/"): n for p, n in counted.per_weight.items() if p.startswith("0/")}
    rest = {p: n for p, n in counted.per_weight.items() if not p.startswith("0/")}
    return Macs(own, counted.others + Macs(rest, 0).total((variables["params"], others)))
