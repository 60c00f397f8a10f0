"""Blocks: parts of a network that may be missing as a whole, as units among the others."""

import fnmatch
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.masks import tree
from gpnas.units._groups import Member, UnitGroup, UnitGroups
from gpnas.units.graph._roles import MAKES, READS

_PREFIX = "block:"


def with_blocks(
    groups: UnitGroups, variables: Any, blocks: Mapping[str, tuple[str, str]]
) -> UnitGroups:
    """Groups, and one more of a single unit for each block.

    A dormant block is silent, and the network goes on as if it were not there: a residual block
    that adds nothing.

    Args:
      groups: As `discover` finds them.
      variables: What was given to `discover`, or shapes.
      blocks: `{name: (glob over all its leaves, glob over those whose zeros silence it)}`, as
        `gpnas.models.blocks` gives it.

    Returns:
      The groups, blocks behind them, named `block:NAME`.
    """
    flat = jax.tree_util.tree_flatten_with_path(variables)[0]
    shapes = {tree.path_name(path): jnp.shape(leaf) for path, leaf in flat}
    found = []
    for name, (whole, silent) in blocks.items():
        members = tuple(
            Member(path, len(shape) - 1, np.zeros(shape[-1], int), np.arange(shape[-1]),
                   READS if fnmatch.fnmatchcase(path, silent) else MAKES)
            for path, shape in shapes.items()
            if fnmatch.fnmatchcase(path, whole)
        )  # fmt: skip
        found.append(UnitGroup(f"{_PREFIX}{name}", 1, members))
    return groups._replace(groups=(*groups.groups, *found))


def is_block(name: str) -> bool:
    """Whether a group is a block."""
    return name.startswith(_PREFIX)


def without_blocks(
    variables: Any, blocks: Mapping[str, tuple[str, str]], unit_masks: Mapping[str, Any]
) -> Any:
    """Variables without the dead blocks.

    Args:
      variables: Nested dicts.
      blocks: As for `with_blocks`.
      unit_masks: `{group: (size,) bool}`, on the host.

    Returns:
      Nested dicts, without what belongs to a dead block and without what is then empty.
    """
    dead = [
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
            and not any(fnmatch.fnmatchcase(f"{path}/{name}"[1:], glob) for glob in dead)
        }

    return left(variables, "")
