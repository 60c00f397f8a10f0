"""Living units: what pruned weights leave of a network, whatever method pruned them."""

from typing import Any

import numpy as np

from gpnas.units._blocks import is_block
from gpnas.units._groups import UnitGroups
from gpnas.units._indexing import leaves, total


def living_units(groups: UnitGroups, variables: Any) -> dict[str, np.ndarray]:
    """Which units anything reads: the unit masks of a network whose weights were pruned.

    A unit all of whose readers are zero adds nothing to the network, whatever its own weights are,
    so `compact` may leave it out and the function stays. One whose own weights are zero, but not
    its readers', may still have a constant output, and lives (but see `fold_constants`). Nor does
    it tell anything of a unit that something sums over (`summed`): those live unless all that they
    own is zero.

    Args:
      groups: As `discover` finds them.
      variables: The pruned variables, or some of their collections; on the host.

    Returns:
      `{group: (size,) bool}`; the first unit of a group stays where all would go, but not a block.
    """
    nonzero = {path: np.asarray(leaf) != 0 for path, leaf in leaves(variables).items()}
    found = {}
    for group in groups.groups:
        side = "all" if group.summed else "outgoing"
        read = np.array(total(group, nonzero, side)) > 0
        read[0] |= not read.any() and not is_block(group.name)
        found[group.name] = read
    return found
