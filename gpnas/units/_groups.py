"""Unit groups: what lives and dies together, and unit masks as weight masks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError
from gpnas.masks import tree

UnitMasks = Mapping[str, Any]


class Member(NamedTuple):
    """Where the units of a group lie along one axis of one leaf.

    Attributes:
      path: Of the leaf in the variables.
      axis: Its axis.
      unit: (pairs,) int, number of a unit in its group.
      at: (pairs,) int, an index along the axis that the unit owns.
      role: What the leaf does for the unit: "reads" it (the rows of a kernel behind it), "makes" it
        (the columns of a kernel before it), "adds" to it (a bias, a mean), or "scales" it (a norm's
        scale or variance, and whatever else); "both" if it reads and makes it (a table of words
        that is the last layer, too).
      over: Axes of the leaf that the layer it is used in sums over: its fan-in.
    """

    path: str
    axis: int
    unit: np.ndarray
    at: np.ndarray
    role: str = "makes"
    over: tuple[int, ...] = ()


class UnitGroup(NamedTuple):
    """Units of one kind: the channels of a layer, say, or the heads of an attention.

    Attributes:
      name: The leaf that computes it and its axis, `params/Dense_0/kernel:1`.
      size: Number of units.
      members: All the axes of leaves that shrink with it.
      summed: Where something sums over the units' activations themselves (a norm over features),
        so that a unit whose readers are zero still counts; empty if nothing does.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    summed: str = ""


class Refusal(NamedTuple):
    """Indices along an axis of a leaf that must stay.

    Attributes:
      path, axis: Of the leaf.
      indices: How many of its indices.
      reason: Why, in a few words.
    """

    path: str
    axis: int
    indices: int
    reason: str


class UnitGroups(NamedTuple):
    """What `discover` finds.

    Attributes:
      groups: Groups of units, each of which may be removed by itself.
      refused: What may not be removed, and why.
    """

    groups: tuple[UnitGroup, ...]
    refused: tuple[Refusal, ...]

    def named(self, name: str) -> UnitGroup:
        """A group by its name.

        Raises:
          UserError: If there is none.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise UserError("group", name, ", ".join(group.name for group in self.groups) or "none")


def full_masks(groups: UnitGroups) -> dict[str, np.ndarray]:
    """Unit masks in which every unit lives: `{group: (size,) bool}`."""
    return {group.name: np.ones(group.size, bool) for group in groups.groups}


def check_masks(groups: UnitGroups, unit_masks: UnitMasks) -> dict[str, np.ndarray]:
    """Unit masks as bool arrays on the host.

    Raises:
      UserError: For a group that there is not, or a mask of another size or type.
    """
    checked = {}
    for name, mask in unit_masks.items():
        group, array = groups.named(name), np.asarray(mask)
        if array.dtype != bool or array.shape != (group.size,):
            allowed = f"({group.size},) bool"
            raise UserError(f"unit_masks[{name}]", f"{array.shape} {array.dtype}", allowed)
        checked[name] = array
    return checked


def alive(groups: UnitGroups, unit_masks: UnitMasks, shapes: Mapping[str, tuple]) -> dict:
    """Which indices along the axes of leaves live.

    Args:
      groups: As `discover` finds them.
      unit_masks: `{group: (size,) bool}`; groups that are not named live. May be traced.
      shapes: Shape of each leaf by path.

    Returns:
      `{path: {axis: (n,) bool}}`, of the axes with members only; numpy arrays for numpy masks.
    """
    found: dict[str, dict[int, Any]] = {}
    for group in groups.groups:
        if group.name not in unit_masks:
            continue
        mask = unit_masks[group.name]
        xp = np if isinstance(mask, np.ndarray) else jnp
        padded = xp.concatenate([mask, xp.ones(1, bool)])
        for member in group.members:
            owners = _owners(member, group.size, shapes[member.path][member.axis])
            axes = found.setdefault(member.path, {})
            axes[member.axis] = axes.get(member.axis, True) & padded[owners].all(1)
    return found


def _owners(member: Member, size: int, n: int) -> np.ndarray:
    """(n, most) int, the units that own each index along an axis; `size` fills up."""
    order = np.argsort(member.at, kind="stable")
    at, unit = member.at[order], member.unit[order]
    first = np.searchsorted(at, at)  # pairs of one index follow each other
    table = np.full((n, max(1, int(np.max(np.bincount(at, minlength=1))))), size)
    table[at, np.arange(len(at)) - first] = unit
    return table


def weight_masks(
    groups: UnitGroups, unit_masks: UnitMasks, variables: Any, synapses: Any = None
) -> Any:
    """Unit masks as masks of the leaves: the outer product over a leaf's axes, ∧ a synapse mask.

    Biases, scales and statistics of units are masked like their kernels, so the result also masks
    leaves that `gpnas.masks.full` leaves alone.

    Args:
      groups: As `discover` finds them.
      unit_masks: `{group: (size,) bool}`; groups that are not named live. May be traced.
      variables: The pytree that was given to `discover`, or shapes of its structure.
      synapses: Masks of the same structure, for single weights; a scalar stands for none.

    Returns:
      A pytree of the structure of `variables`, bool: the leaf's shape where one of its axes has
      units, else the synapse mask or a scalar True.

    Raises:
      UserError: For a group that there is not.
    """
    for name in unit_masks:
        groups.named(name)
    flat = jax.tree_util.tree_flatten_with_path(variables)[0]
    shapes = {tree.path_name(path): jnp.shape(leaf) for path, leaf in flat}
    living = alive(groups, unit_masks, shapes)

    def mask(path: tuple, leaf: Any, synapse: Any) -> jax.Array:
        result = jnp.asarray(synapse)
        for axis, lives in living.get(tree.path_name(path), {}).items():
            shape = [-1 if a == axis else 1 for a in range(jnp.ndim(leaf))]
            result = jnp.broadcast_to(result, jnp.shape(leaf)) & lives.reshape(shape)
        return result

    if synapses is None:
        synapses = jax.tree.map(lambda _: True, variables)
    return jax.tree.map_with_path(mask, variables, synapses)
