"""Unit groups: sets of indices that are removed together; conversion of unit masks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError
from gpnas.masks import tree

#: `{group: (size,) bool}`; missing groups are active.
UnitMasks = Mapping[str, Any]


class Member(NamedTuple):
    """The units of a group along one axis of one leaf.

    Attributes:
      path: Path of the leaf in the variables.
      axis: Axis of the leaf.
      unit: (pairs,) int, number of a unit in its group.
      at: (pairs,) int, an index along the axis that the unit owns.
      role: Role of the leaf in the unit. "produces": the columns of the kernel that computes it.
        "adds": a bias or mean. "scales": scale or variance of a norm, or an unknown role.
        "consumes": the rows of a kernel behind it. "both": produces and consumes (a tied
        embedding).
      over: Axes of the leaf that its layer contracts, for the fan-in.
    """

    path: str
    axis: int
    unit: np.ndarray
    at: np.ndarray
    role: str = "produces"
    over: tuple[int, ...] = ()


class UnitGroup(NamedTuple):
    """Units of one kind, for example the channels of a layer or the heads of an attention.

    Attributes:
      name: The leaf that produces the units and its axis: `params/Dense_0/kernel:1`.
      size: Number of units.
      members: All axes of leaves that shrink with the group.
      summed: Ops that sum over the activations of the units themselves (a norm over features), so
        that a unit has an effect even if its outgoing weights are zero; empty if there are none.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    summed: str = ""

    def with_roles(self, *roles: str) -> "UnitGroup":
        """Returns the group with only its members of the given roles."""
        return self._replace(members=tuple(m for m in self.members if m.role in roles))


class Refusal(NamedTuple):
    """Indices along an axis of a leaf that cannot be removed.

    Attributes:
      path, axis: The leaf and its axis.
      indices: Number of refused indices.
      reason: The most frequent reason.
    """

    path: str
    axis: int
    indices: int
    reason: str


class UnitGroups(NamedTuple):
    """The result of `discover`.

    Attributes:
      groups: Groups of units, each of which can be removed independently.
      refused: Indices that cannot be removed, with reasons.
    """

    groups: tuple[UnitGroup, ...]
    refused: tuple[Refusal, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """`{group: number of units}`, in the order of the groups."""
        return {group.name: group.size for group in self.groups}

    def named(self, name: str) -> UnitGroup:
        """Returns the group with this name.

        Raises:
          UserError: If it does not exist.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise UserError("group", name, ", ".join(group.name for group in self.groups) or "none")


def full_masks(groups: UnitGroups) -> dict[str, np.ndarray]:
    """Returns unit masks with all units active: `{group: (size,) bool}`.

    Args:
      groups: The unit groups.
    """
    return {group.name: np.ones(group.size, bool) for group in groups.groups}


def validated_masks(groups: UnitGroups, unit_masks: UnitMasks) -> dict[str, np.ndarray]:
    """Converts unit masks to bool arrays on the host.

    Raises:
      UserError: For an unknown group, or a mask of the wrong shape or dtype.
    """
    checked = {}
    for name, mask in unit_masks.items():
        group, array = groups.named(name), np.asarray(mask)
        if array.dtype != bool or array.shape != (group.size,):
            allowed = f"({group.size},) bool"
            raise UserError(f"unit_masks[{name}]", f"{array.shape} {array.dtype}", allowed)
        checked[name] = array
    return checked


def active_indices(groups: UnitGroups, unit_masks: UnitMasks, variables: Any) -> dict:
    """Returns the active indices along the axes of leaves.

    Args:
      groups: Groups found by `discover`.
      unit_masks: `{group: (size,) bool}`; missing groups are active. May be traced.
      variables: The variables given to `discover`, or shapes.

    Returns:
      `{path: {axis: (n,) bool}}` of axes that have units; numpy arrays for numpy masks.
    """
    leaves = tree.leaves_by_path(variables)
    found: dict[str, dict[int, Any]] = {}
    for group in groups.groups:
        if group.name not in unit_masks:
            continue
        mask = unit_masks[group.name]
        xp = np if isinstance(mask, np.ndarray) else jnp
        padded = xp.concatenate([mask, xp.ones(1, bool)])
        for member in group.members:
            owners = _owners(member, group.size, jnp.shape(leaves[member.path])[member.axis])
            axes = found.setdefault(member.path, {})
            axes[member.axis] = axes.get(member.axis, True) & padded[owners].all(1)
    return found


def _owners(member: Member, size: int, n: int) -> np.ndarray:
    """Returns the units that own each index along an axis, padded with `size`; (n, owners) int."""
    order = np.argsort(member.at, kind="stable")
    at, unit = member.at[order], member.unit[order]
    first = np.searchsorted(at, at)  # pairs of one index are consecutive
    table = np.full((n, max(1, int(np.max(np.bincount(at, minlength=1))))), size)
    table[at, np.arange(len(at)) - first] = unit
    return table


def weight_masks(
    groups: UnitGroups, unit_masks: UnitMasks, variables: Any, entry_masks: Any = None
) -> Any:
    """Converts unit masks to masks of the leaves: the outer product over the axes of a leaf.

    Biases, scales and statistics of inactive units are masked like their kernels, also in leaves
    without masks of single weights.

    Args:
      groups: Groups found by `discover`.
      unit_masks: `{group: (size,) bool}`; missing groups are active. May be traced.
      variables: The pytree given to `discover`, or shapes of its structure.
      entry_masks: Masks of single weights, of the same structure, which are combined with the
        result by a logical and; a scalar True masks nothing.

    Returns:
      A pytree of bool with the structure of `variables`: of the leaf's shape if any of its axes has
      units, else the entry mask or a scalar True.

    Raises:
      UserError: For an unknown group.
    """
    for name in unit_masks:
        groups.named(name)
    active = active_indices(groups, unit_masks, variables)

    def mask(path: tuple, leaf: Any, entry_mask: Any) -> jax.Array:
        result = jnp.asarray(entry_mask)
        for axis, keep in active.get(tree.path_name(path), {}).items():
            shape = [-1 if a == axis else 1 for a in range(jnp.ndim(leaf))]
            result = jnp.broadcast_to(result, jnp.shape(leaf)) & keep.reshape(shape)
        return result

    if entry_masks is None:
        entry_masks = jax.tree.map(lambda _: True, variables)
    return jax.tree.map_with_path(mask, variables, entry_masks)


def split_by_group(sizes: Mapping[str, int], values: Any) -> dict[str, Any]:
    """Splits (units,) values into `{group: (size,)}`."""
    ends = np.cumsum([0, *sizes.values()]).tolist()
    return {name: values[a:b] for name, a, b in zip(sizes, ends, ends[1:], strict=False)}
