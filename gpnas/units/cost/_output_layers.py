"""The output layers of a network, found in its traced graph."""

from collections.abc import Callable
from typing import Any

from gpnas.units.cost._op_counts import PRODUCTS
from gpnas.units.graph import trace, trace_origins


def output_layers(apply_fn: Callable[..., Any], variables: Any, *inputs: Any) -> list[str]:
    """Returns the paths of the output layers' weights, in the leaves' order; nothing is computed.

    The weights of an output layer are multiplied by an activation in a matrix product or a
    convolution, and no further such product lies between it and the outputs. A loop or branch with
    weights counts as one product.

    Args:
      apply_fn: `(variables, *inputs) → anything`.
      variables: A pytree of arrays or shapes; leaves of two or more axes are weights.
      *inputs: Arrays or shapes.
    """
    traced = trace(apply_fn, variables, *inputs)
    graph, origins = traced.graph, trace_origins(traced)
    leaves = zip(graph.ins, traced.paths, strict=False)
    weights = {leaf.id: path for leaf, path in leaves if len(leaf.shape) > 1}
    behind, found = {x.id for x in graph.outs}, set[int]()
    for op in reversed(graph.ops):
        if behind.isdisjoint(x.id for x in op.outs):
            continue
        sources = [origins[x.id] for x in op.ins]  # None: an activation
        used = weights.keys() & frozenset().union(*(ids for ids in sources if ids is not None))
        if used and None in sources and (op.name in PRODUCTS or op.bodies):
            found |= used
        else:
            behind |= {x.id for x in op.ins}
    return [path for leaf, path in weights.items() if leaf in found]
