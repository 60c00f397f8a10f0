"""Gradients of skip connections over units, from which GradMax initializes new units.

A new unit multiplies the input of the layer that produces it, and adds to the output of the layers
that consume it. Both are found in the traced graph, so that any function can be used.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError
from gpnas.units._groups import Member, UnitGroup, UnitGroups
from gpnas.units._indexing import members_on_side, producers
from gpnas.units.graph import Graph, Op, Solution, Trace, Value, all_ops, rule_of, solve, trace

# Primitives after which a value still counts as the kernel, entry by entry.
_ELEMENTWISE = frozenset(("convert_element_type", "copy", "mul", "select_n"))


class LayerUse(NamedTuple):
    """A layer and the kernel that it uses.

    Attributes:
      op: A product or a convolution.
      kernel: Which of the two operands is the kernel.
      member: The axis of the kernel along which the units lie.
    """

    op: Op
    kernel: int
    member: Member

    @property
    def x(self) -> Value:
        """The operand that is not the kernel."""
        return self.op.ins[1 - self.kernel]

    def apply(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """The output of the layer."""
        args = (x, kernel) if self.kernel else (kernel, x)
        return self.op.bind(*args, **self.op.params)


class SkipPath(NamedTuple):
    """The layer that produces a group of units, and the layers that consume it."""

    producer: LayerUse
    consumers: tuple[LayerUse, ...]


def skip_gradients(
    apply_fn: Callable[..., Any],
    loss: Callable[[Any], jax.Array],
    variables: Any,
    groups: UnitGroups,
    names: Sequence[str],
    *inputs: Any,
) -> dict[str, jax.Array]:
    """Computes the gradients HᵀG/N of skip connections over units.

    Each leads from the inputs of the layer that produces a unit to the outputs of those that
    consume it. An entry is the mixed derivative ∂²L/∂u∂v of the loss with respect to an incoming
    weight u and an outgoing weight v of a new unit that has no other weights and the identity as
    its activation. Norms between the layers are included.

    For dense layers it is HᵀG/N, with H (N, inputs) the inputs of the producing layer, and G
    (N, outputs) the gradients of the losses of N examples with respect to the outputs of the
    consuming layer. For convolutions it is the gradient of a convolution with the composed window,
    unrolled: each entry of one window times each of the other.

    Args:
      apply_fn: The function given to `discover`.
      loss: `outputs → ()`, a mean over the batch.
      variables: Its variables, with zeros for inactive units.
      groups: Groups found by `discover`.
      names: Names of the groups.
      *inputs: A batch.

    Returns:
      `{group: (incoming entries, outgoing entries)}`, entries in the order of the kernels, kernels
      in the order of the group's members.

    Raises:
      UserError: If several layers produce a group, if a layer is inside a loop, or if positions
        change between producer and consumer (pooling, a flatten).

    References:
      Evci et al. 2022, GradMax (arXiv:2201.05125), section 3.
    """
    traced = trace(apply_fn, *jax.eval_shape(lambda *args: args, variables, *inputs))
    solution = solve(traced)
    paths = {name: _skip_path(traced, solution, groups.named(name)) for name in names}
    outs = [use.op.outs[0] for path in paths.values() for use in path.consumers]
    first = {out.id: jnp.zeros(out.shape) for out in outs}

    def run(added: dict[int, jax.Array]) -> tuple[jax.Array, dict[int, jax.Array]]:
        results, seen = _run(traced.graph, [*jax.tree.leaves((variables, inputs))], added)
        seen = {path.producer.x.id: seen[path.producer.x.id] for path in paths.values()}
        return loss(jax.tree.unflatten(traced.out_tree, results)), seen

    slopes, seen = jax.grad(run, has_aux=True)(first)

    def matrix(path: SkipPath) -> jax.Array:
        wide = _widened(path.producer, seen[path.producer.x.id])
        blocks = [_consumer_gradient(use, path.producer, wide, slopes[use.op.outs[0].id])
                  for use in path.consumers]  # fmt: skip
        return jnp.concatenate(blocks, 1)

    return {name: matrix(path) for name, path in paths.items()}


def _run(
    graph: Graph, args: list, added: Mapping[int, jax.Array]
) -> tuple[list[jax.Array], dict[int, jax.Array]]:
    """Returns (outputs of a graph, all of its values by id), with arrays added to some values."""
    found = dict(graph.constants) | {x.id: arg for x, arg in zip(graph.ins, args, strict=True)}
    for op in graph.ops:
        results = op.as_traced(*(found[x.id] for x in op.ins))
        for value, x in zip(op.outs, results, strict=True):
            found[value.id] = x + added[value.id].astype(x.dtype) if value.id in added else x
    return [found[x.id] for x in graph.outs], found


def _skip_path(traced: Trace, solution: Solution, group: UnitGroup) -> SkipPath:
    field = f"skip connection over {group.name}"
    incoming, outgoing = producers(group), members_on_side(group, "outgoing")
    if len(incoming) != 1 or not outgoing:
        got = f"{len(incoming)} kernels that produce it, {len(outgoing)} that consume it"
        raise UserError(field, got, "one that produces it, one or more that consume it")
    producer, *consumers = (_layer_use(traced, group, m) for m in (*incoming, *outgoing))
    for consumer in consumers:
        if not _same_positions(solution, producer, consumer):
            got = f"{producer.member.path} to {consumer.member.path}"
            raise UserError(field, got, "layers with the same positions")
    return SkipPath(producer, tuple(consumers))


def _layer_use(traced: Trace, group: UnitGroup, member: Member) -> LayerUse:
    """Returns the layer that uses a kernel unchanged and contracts one axis of its other operand.

    Raises:
      UserError: If there is no such layer.
    """
    leaf = traced.graph.ins[traced.paths.index(member.path)]
    names, uses = {leaf.id}, []
    for op in all_ops(traced.graph):
        at = [i for i, x in enumerate(op.ins) if x.id in names]
        if at and op.name in _ELEMENTWISE and op.outs[0].shape == leaf.shape:
            names.add(op.outs[0].id)
        elif at:
            uses.append(LayerUse(op, at[0], member))
    plain = [u for u in uses if _is_plain(u) and any(u.op is op for op in traced.graph.ops)]
    if len(uses) != 1 or not plain:
        got = f"{member.path} in {', '.join(u.op.name for u in uses) or 'no layer'}"
        raise UserError(f"skip connection over {group.name}", got, "dense layers and convolutions")
    return plain[0]


def _is_plain(use: LayerUse) -> bool:
    params = use.op.params
    if use.op.name == "dot_general":
        contracted, batch = params["dimension_numbers"]
        return len(contracted[0]) == 1 and not batch[0]
    return use.op.name == "conv_general_dilated" and (
        params["feature_group_count"] == params["batch_group_count"] == use.kernel == 1
    )


def _output_axis(use: LayerUse) -> int:
    """Returns the output axis along which the units of the producing layer lie."""
    links = rule_of(use.op).links(use.op)
    return next(k.out_axis for k in links if (k.source, k.axis) == (use.kernel, use.member.axis))


def _input_axis(use: LayerUse) -> int:
    """Returns the input axis along which the units of the consuming layer lie."""
    if use.op.name == "dot_general":
        return use.op.params["dimension_numbers"][0][1 - use.kernel][0]
    return use.op.params["dimension_numbers"].lhs_spec[1]


def _same_positions(solution: Solution, producer: LayerUse, consumer: LayerUse) -> bool:
    """Returns whether producer and consumer agree along all axes except that of the units.

    They have the same nodes unless an op on the way moves or joins positions.
    """

    def rest(value: Value, units: int) -> list[np.ndarray]:
        axes = [a for a in range(len(value.shape)) if a != units]
        return [solution.classes[value.nodes(a)] for a in axes if value.shape[a] > 1]

    a = rest(producer.op.outs[0], _output_axis(producer))
    b = rest(consumer.x, _input_axis(consumer))
    same_rank = len(producer.op.outs[0].shape) == len(consumer.x.shape)
    return same_rank and len(a) == len(b) and all(map(np.array_equal, a, b))


def _widened(producer: LayerUse, x: jax.Array) -> jax.Array:
    """Computes the producing layer's output with one unit per entry of its incoming weights."""
    shape = list(producer.op.ins[producer.kernel].shape)
    del shape[producer.member.axis]
    unit = jnp.eye(math.prod(shape), dtype=x.dtype).reshape(*shape, -1)
    return producer.apply(x, jnp.moveaxis(unit, -1, producer.member.axis))


def _consumer_gradient(
    consumer: LayerUse, producer: LayerUse, wide: jax.Array, slope: jax.Array
) -> jax.Array:
    """Returns (incoming, outgoing entries), the gradient of weights that consume wider units."""
    x = jnp.moveaxis(wide, _output_axis(producer), _input_axis(consumer))
    shape = list(consumer.op.ins[consumer.kernel].shape)
    shape[consumer.member.axis] = wide.shape[_output_axis(producer)]
    _, pull = jax.vjp(lambda kernel: consumer.apply(x, kernel), jnp.zeros(shape, x.dtype))
    rows = jnp.moveaxis(pull(slope.astype(x.dtype))[0], consumer.member.axis, 0)
    return rows.reshape(len(rows), -1).astype(jnp.float32)
