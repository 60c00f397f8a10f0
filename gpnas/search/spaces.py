"""Spaces of networks to be trained; each is `(image, classes, **fields) → Space`."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import numpy as np

from gpnas._settings import Count
from gpnas.models import (
    Cell201,
    DartsNet,
    Genotype,
    MacroNet,
    call,
    cell201,
    darts_cell,
    macronet,
    network_macs,
    resolve_conv,
)
from gpnas.search._space import Space, choices
from gpnas.search.morphable import morphable

Shape = tuple[int, int, int]


def cell_201(
    image: Shape,
    classes: int,
    channels: Count = 16,
    cells: Count = 5,
    conv: Literal["auto", "im2col", "xla"] = "auto",
) -> Space:
    """NAS-Bench-201's cells, to be trained on your own images.

    Args:
      image: (height, width, channels).
      classes: Number of classes.
      channels, cells: As for `Cell201`.
      conv: "auto", "im2col" or "xla".
    """
    build = functools.partial(
        Cell201, num_classes=classes, channels=channels, cells=cells, conv=resolve_conv(conv)
    )
    return of_networks([cell201.OPERATIONS] * 6, image, build)


def macro(image: Shape, classes: int, channels: Count = 32, head: Count = 1280) -> Space:
    """NAS-Bench-Macro's networks, to be trained on your own images.

    Args:
      image: (height, width, channels).
      classes: Number of classes.
      channels, head: As for `MacroNet`.
    """
    build = functools.partial(MacroNet, num_classes=classes, channels=channels, head=head)
    return of_networks([tuple(macronet.BLOCKS)] * sum(macronet.STAGES), image, build)


def darts(
    image: Shape, classes: int, channels: Count = 8, layers: Count = 4, nodes: Count = 2
) -> Space:
    """DARTS's two cells; small by default, the paper's have four nodes.

    For each node, the choices are two different inputs, such as "0 2" (not for the first node), and
    an operation for each. The normal cell's nodes come first, then the reduction cell's.

    Args:
      image: (height, width, channels).
      classes: Number of classes.
      channels, layers: As for `DartsNet`.
      nodes: Nodes per cell.

    References:
      Liu et al. 2019, DARTS (arXiv:1806.09055), section 3.1.
    """
    inputs = [[f"{i} {j}" for i, j in itertools.combinations(range(n + 2), 2)]
              for n in range(nodes)]  # fmt: skip
    chosen = [name for name in darts_cell.OPERATIONS if name != "none"]
    options = [row for pairs in inputs for row in (pairs, chosen, chosen) if len(row) > 1] * 2

    def build(architecture: Sequence[str]) -> nn.Module:
        rest = iter(architecture)
        cells = []
        for _ in range(2):
            cell = []
            for pairs in inputs:
                pair = next(rest) if len(pairs) > 1 else pairs[0]
                cell.append(tuple((next(rest), int(at)) for at in pair.split()))
            cells.append(tuple(cell))
        genotype = Genotype(*cells)
        return DartsNet(genotype, num_classes=classes, channels=channels, layers=layers)

    return of_networks(options, image, build)


def of_networks(
    options: Sequence[Sequence[str]], image: Shape, build: Callable[[Any], nn.Module]
) -> Space:
    """The space of modules built from independent choices; costs are params, macs, log_params.

    Args:
      options: Options of each choice.
      image: (height, width, channels).
      build: `architecture → module`, called as `module(images, train=…)`.
    """

    @functools.cache
    def cost(architecture: Any) -> Mapping[str, float]:
        return cost_of(build(architecture), image)

    return choices(options, cost, build)


def cost_of(module: nn.Module, image: Shape) -> dict[str, float]:
    """Returns params, macs of one image, and log_params (base 10); only shapes are computed.

    Args:
      module: The network.
      image: (height, width, channels).
    """
    blank = jax.ShapeDtypeStruct((1, *image), np.float32)
    draw = functools.partial(call.init, module)
    variables = jax.eval_shape(draw, jax.random.key(0), blank)
    params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
    macs = network_macs(module, variables, image).total(variables["params"])
    return {"params": params, "macs": macs, "log_params": math.log10(max(params, 1))}


SPACES: Mapping[str, Callable[..., Space]] = {
    "morphable": morphable,
    "cell_201": cell_201,
    "macro": macro,
    "darts": darts,
}
