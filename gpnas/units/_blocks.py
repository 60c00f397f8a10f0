"""Blocks: parts of a network that are removed as a whole, as groups of one unit."""

import fnmatch
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError
from gpnas.masks import tree
from gpnas.units._groups import Member, UnitGroup, UnitGroups
from gpnas.units.graph import CONSUMES, PRODUCES

#: `{name: (glob of all its leaves, glob of leaves whose zeros make its output zero)}`.
Blocks = Mapping[str, tuple[str, str]]
_PREFIX = "block:"


def with_blocks(groups: UnitGroups, variables: Any, blocks: Blocks) -> UnitGroups:
    """Adds a group of one unit for each block that the variables contain.

    An inactive block is skipped: a residual block then adds zero. A compacted network lacks it,
    with its scalars, which are not masked.

    Args:
      groups: Groups found by `discover`.
      variables: The variables given to `discover`, or shapes.
      blocks: `{name: (glob of all its leaves, glob of leaves whose zeros make its output zero)}`,
        as returned by `gpnas.models.removable_blocks`.

    Returns:
      The groups, followed by the blocks, which are named `block:NAME`.

    Raises:
      UserError: If a leaf whose zeros should make a block's output zero is a scalar.
    """
    shapes = {path: jnp.shape(leaf) for path, leaf in tree.leaves_by_path(variables).items()}
    found = []
    for name, (whole, output) in blocks.items():
        inside = fnmatch.filter(shapes, whole)
        outputs = fnmatch.filter(inside, output)
        if scalars := [path for path in outputs if not shapes[path]]:
            raise UserError(f"blocks.{name}", scalars[0], "output leaves of one axis or more")
        members = tuple(
            Member(path, len(shape) - 1, np.zeros(shape[-1], int), np.arange(shape[-1]),
                   CONSUMES if path in outputs else PRODUCES)
            for path in inside
            if (shape := shapes[path])
        )  # fmt: skip
        if members:
            found.append(UnitGroup(block_group(name), 1, members))
    return groups._replace(groups=(*groups.groups, *found))


def block_group(name: str) -> str:
    """Returns the name of a block's group."""
    return f"{_PREFIX}{name}"


def is_block(name: str) -> bool:
    """Returns whether a group is a block.

    Args:
      name: Name of a unit group.
    """
    return name.startswith(_PREFIX)


def without_blocks(variables: Any, blocks: Blocks, unit_masks: Mapping[str, Any]) -> Any:
    """Removes inactive blocks from the variables.

    Args:
      variables: Nested dicts.
      blocks: As for `with_blocks`.
      unit_masks: `{group: (size,) bool}`, on the host.

    Returns:
      Nested dicts without the leaves of inactive blocks and without dicts that become empty.
    """
    removed = [
        blocks[name.removeprefix(_PREFIX)][0]
        for name, mask in unit_masks.items()
        if is_block(name) and not np.any(mask)
    ]

    def left(part: Any, path: str) -> Any:
        if not isinstance(part, Mapping):
            return part
        inside = {name: left(inner, f"{path}/{name}") for name, inner in part.items()}
        return {
            name: inner
            for name, inner in inside.items()
            if not (isinstance(inner, Mapping) and not inner)
            and not any(fnmatch.fnmatchcase(f"{path}/{name}"[1:], glob) for glob in removed)
        }

    return left(variables, "")
