"""Bridges: what a new unit between two layers would see, and the gradient that it would send.

A unit multiplies what goes into the layer that makes it, and adds to what comes out of the layers
that read it. Both are found in the traced program, so that this works for any function.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError
from gpnas.units._groups import Member, UnitGroup, UnitGroups
from gpnas.units._indexing import makers, of_side
from gpnas.units.graph._rules import rule_of
from gpnas.units.graph._solve import Solution, solve
from gpnas.units.graph._trace import Program, Step, Trace, Value, all_steps, trace

# Steps after which a kernel is still that kernel, entry by entry.
UNMOVED = frozenset(("convert_element_type", "copy", "mul", "select_n"))


class Use(NamedTuple):
    """A layer and the kernel it uses.

    Attributes:
      step: A product or a convolution.
      kernel: Which of its two operands the kernel is.
      member: The axis of the kernel along which the units lie.
    """

    step: Step
    kernel: int
    member: Member

    @property
    def x(self) -> Value:
        """The operand that is not the kernel."""
        return self.step.ins[1 - self.kernel]

    def apply(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """The layer's output."""
        args = (x, kernel) if self.kernel else (kernel, x)
        return self.step.bind(*args, **self.step.params)


class Place(NamedTuple):
    """Where a group of units is made, and where it is read."""

    maker: Use
    readers: tuple[Use, ...]


def gradients(
    apply_fn: Callable[..., Any],
    loss: Callable[[Any], jax.Array],
    variables: Any,
    groups: UnitGroups,
    names: Sequence[str],
    *inputs: Any,
) -> dict[str, jax.Array]:
    """HᵀG/N, gradients of bridges over units: from the inputs of one layer to the next's outputs.

    An entry is the mixed derivative ∂²L/∂u∂v of the loss by an incoming weight u and an outgoing
    weight v of a unit that has no other yet, and whose activation is the identity; so do norms
    between the layers count. For dense layers this is HᵀG/N, for convolutions the gradient of one
    with the composed window, unrolled: each entry of one window meets each of the other.

    Args:
      apply_fn: The function that was given to `discover`.
      loss: `outputs → ()`, a mean over the batch.
      variables: Its variables; what is dead is zero.
      groups: What `discover` found.
      names: Which groups.
      *inputs: A batch.

    Returns:
      `{group: (incoming entries, outgoing entries)}`, entries in the order of the kernels, kernels
      in that of the group's members.

    Raises:
      UserError: If a group is made by more than one layer, in a loop, or its units are not read at
        the places where they are made (a pooling between, a flatten).

    References:
      Evci et al. 2022, GradMax (arXiv:2201.05125), section 3.
    """
    traced, places = _traced(apply_fn, variables, groups, names, inputs)
    outs = [use.step.outs[0] for place in places.values() for use in place.readers]
    first = {out.id: jnp.zeros(out.shape) for out in outs}

    def run(added: dict[int, jax.Array]) -> tuple[jax.Array, dict[int, jax.Array]]:
        results, seen = _run(traced.program, [*jax.tree.leaves((variables, inputs))], added)
        seen = {place.maker.x.id: seen[place.maker.x.id] for place in places.values()}
        return loss(jax.tree.unflatten(traced.out_tree, results)), seen

    slopes, seen = jax.grad(run, has_aux=True)(first)

    def matrix(place: Place) -> jax.Array:
        wide = _wide(place.maker, seen[place.maker.x.id])
        blocks = [_slope(use, place.maker, wide, slopes[use.step.outs[0].id])
                  for use in place.readers]  # fmt: skip
        return jnp.concatenate(blocks, 1)

    return {name: matrix(place) for name, place in places.items()}


def moments(
    apply_fn: Callable[..., Any],
    variables: Any,
    groups: UnitGroups,
    names: Sequence[str],
    *inputs: Any,
) -> dict[str, jax.Array]:
    """HᵀH/N, second moments of what the incoming weights of units multiply.

    Args:
      apply_fn, variables, groups, names, *inputs: As for `gradients`.

    Returns:
      `{group: (incoming entries, incoming entries)}`; N counts places in an image, too.

    Raises:
      UserError: As for `gradients`.
    """
    traced, places = _traced(apply_fn, variables, groups, names, inputs)
    _, seen = _run(traced.program, [*jax.tree.leaves((variables, inputs))], {})

    def moment(maker: Use) -> jax.Array:
        wide = _wide(maker, seen[maker.x.id])
        rows = jnp.moveaxis(wide, _made(maker), -1).reshape(-1, wide.shape[_made(maker)])
        return rows.T @ rows / len(rows)

    return {name: moment(place.maker) for name, place in places.items()}


def _traced(
    apply_fn: Callable[..., Any],
    variables: Any,
    groups: UnitGroups,
    names: Sequence[str],
    inputs: tuple,
) -> tuple[Trace, dict[str, Place]]:
    traced = trace(apply_fn, *jax.eval_shape(lambda *args: args, variables, *inputs))
    solution = solve(traced)
    return traced, {name: _place(traced, solution, groups.named(name)) for name in names}


def _run(
    program: Program, args: list, added: Mapping[int, jax.Array]
) -> tuple[list[jax.Array], dict[int, jax.Array]]:
    """Results of a program and all its values, with something added to some of them."""
    found = dict(program.constants) | {x.id: arg for x, arg in zip(program.ins, args, strict=True)}
    for step in program.steps:
        results = step.alone(*(found[x.id] for x in step.ins))
        for value, x in zip(step.outs, results, strict=True):
            found[value.id] = x + added[value.id] if value.id in added else x
    return [found[x.id] for x in program.outs], found


def _place(traced: Trace, solution: Solution, group: UnitGroup) -> Place:
    made, read = makers(group), of_side(group, "outgoing")
    if len(made) != 1 or not read:
        said = f"{len(made)} kernels that make it, {len(read)} that read it"
        raise UserError(f"bridge over {group.name}", said, "one that makes it, one or more after")
    maker, *readers = (_use(traced, group, member) for member in (*made, *read))
    for reader in readers:
        if not _same_places(solution, maker, reader):
            between = f"{maker.member.path} to {reader.member.path}"
            raise UserError(f"bridge over {group.name}", between, "layers at the same places")
    return Place(maker, tuple(readers))


def _use(traced: Trace, group: UnitGroup, member: Member) -> Use:
    """The one layer that uses a kernel as it is, and sums over one axis of its other operand.

    Raises:
      UserError: If there is no such layer.
    """
    leaf = traced.program.ins[traced.paths.index(member.path)]
    names, uses = {leaf.id}, []
    for step in all_steps(traced.program):
        at = [i for i, x in enumerate(step.ins) if x.id in names]
        if at and step.name in UNMOVED and step.outs[0].shape == leaf.shape:
            names.add(step.outs[0].id)
        elif at:
            uses.append(Use(step, at[0], member))
    (use, *others) = uses
    inside = any(use.step is step for step in traced.program.steps)
    if others or not inside or not _plain(use):
        got = f"{member.path} in {', '.join(u.step.name for u in uses)}"
        raise UserError(f"bridge over {group.name}", got, "dense layers and convolutions")
    return use


def _plain(use: Use) -> bool:
    params = use.step.params
    if use.step.name == "dot_general":
        contracted, batch = params["dimension_numbers"]
        return len(contracted[0]) == 1 and not batch[0]
    return use.step.name == "conv_general_dilated" and (
        params["feature_group_count"] == params["batch_group_count"] == use.kernel == 1
    )


def _made(use: Use) -> int:
    """The axis of a layer's output along which the units lie that it makes."""
    links = rule_of(use.step).links(use.step)
    return next(k.out_axis for k in links if (k.source, k.axis) == (use.kernel, use.member.axis))


def _read(use: Use) -> int:
    """The axis of a layer's input along which the units lie that it reads."""
    if use.step.name == "dot_general":
        return use.step.params["dimension_numbers"][0][1 - use.kernel][0]
    return use.step.params["dimension_numbers"].lhs_spec[1]


def _same_places(solution: Solution, maker: Use, reader: Use) -> bool:
    """Whether all axes but the units' are the same, index by index, where units are made and read.

    Nodes say so: whatever moves or joins places on the way makes others of them.
    """

    def rest(value: Value, units: int) -> list[np.ndarray]:
        axes = [a for a in range(len(value.shape)) if a != units]
        return [solution.classes[value.nodes(a)] for a in axes if value.shape[a] > 1]

    a, b = rest(maker.step.outs[0], _made(maker)), rest(reader.x, _read(reader))
    same_rank = len(maker.step.outs[0].shape) == len(reader.x.shape)
    return same_rank and len(a) == len(b) and all(map(np.array_equal, a, b))


def _wide(maker: Use, x: jax.Array) -> jax.Array:
    """What the layer would put out if it had a unit for each entry of its incoming weights."""
    shape = list(maker.step.ins[maker.kernel].shape)
    del shape[maker.member.axis]
    unit = jnp.eye(math.prod(shape), dtype=x.dtype).reshape(*shape, -1)
    return maker.apply(x, jnp.moveaxis(unit, -1, maker.member.axis))


def _slope(reader: Use, maker: Use, wide: jax.Array, slope: jax.Array) -> jax.Array:
    """(incoming entries, outgoing entries): gradient of the rows that would read wide units."""
    x = jnp.moveaxis(wide, _made(maker), _read(reader))
    shape = list(reader.step.ins[reader.kernel].shape)
    shape[reader.member.axis] = wide.shape[_made(maker)]
    _, pull = jax.vjp(lambda kernel: reader.apply(x, kernel), jnp.zeros(shape, x.dtype))
    rows = jnp.moveaxis(pull(slope)[0], reader.member.axis, 0)
    return rows.reshape(len(rows), -1).astype(jnp.float32)
