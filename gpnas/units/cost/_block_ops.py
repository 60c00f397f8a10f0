"""Primitives and leaves of a block: those that are unused without it."""

import fnmatch
from collections.abc import Iterable

import numpy as np

from gpnas.units._blocks import Blocks
from gpnas.units.graph import Graph, Op, Trace

_PRODUCTS = frozenset(("dot_general", "conv_general_dilated", "mul"))
# Zero where all operands are zero.
_LINEAR = frozenset((
    "add", "add_any", "sub", "neg", "reshape", "transpose", "broadcast_in_dim", "squeeze",
    "expand_dims", "convert_element_type", "reduce_sum", "slice", "concatenate", "rev", "copy",
    "reduce_window_sum",
))  # fmt: skip


def blocks_of_leaves(traced: Trace, blocks: Blocks) -> list[tuple[int, ...]]:
    """Returns the numbers of the blocks that each leaf of the variables belongs to."""
    wholes = [whole for whole, _ in blocks.values()]
    return [
        tuple(i for i, whole in enumerate(wholes) if fnmatch.fnmatchcase(path, whole))
        for path in traced.paths
    ]


def blocks_of_ops(traced: Trace, blocks: Blocks) -> list[tuple[int, ...]]:
    """Returns the numbers of the blocks that each primitive of the graph belongs to.

    A primitive belongs to a block if its result is zero when the block's output is, or if nothing
    outside the block uses it.

    Args:
      traced: A traced function.
      blocks: As for `with_blocks`.
    """
    graph, always = traced.graph, _needed(traced.graph, ())
    without = []
    for _, output in blocks.values():
        pairs = zip(traced.paths, graph.ins, strict=False)
        zeros = [leaf.id for path, leaf in pairs if fnmatch.fnmatchcase(path, output)]
        without.append(_needed(graph, zeros))
    return [
        tuple(number for number, needed in enumerate(without) if always[i] and not needed[i])
        for i in range(len(graph.ops))
    ]


def _needed(graph: Graph, zeros: Iterable[int]) -> list[bool]:
    """Returns whether the outputs depend on each primitive if some values are zero."""
    zero = {*zeros}
    is_zero = []
    for op in graph.ops:
        is_zero.append(_gives_zero(op, zero, graph))
        zero |= {out.id for out in op.outs} if is_zero[-1] else set()
    read, needed = {out.id for out in graph.outs}, [False] * len(graph.ops)
    for i, op in reversed([*enumerate(graph.ops)]):
        needed[i] = not is_zero[i] and any(out.id in read for out in op.outs)
        read |= {x.id for x in op.ins} if needed[i] else set()
    return needed


def _gives_zero(op: Op, zero: set[int], graph: Graph) -> bool:
    """Returns whether zero operands make the results of a primitive zero."""
    if op.name in _PRODUCTS or (op.name == "div" and op.ins[0].id in zero):
        return any(x.id in zero for x in op.ins)
    constants = [graph.known.get(x.id, 1) for x in op.ins if x.id in graph.constants]
    varying = [x.id in zero for x in op.ins if x.id not in graph.constants]
    return op.name in _LINEAR and any(varying) and all(varying) and not any(map(np.any, constants))
