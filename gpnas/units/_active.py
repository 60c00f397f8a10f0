"""Active units of a pruned network, independent of the pruning method."""

from typing import Any

import jax
import numpy as np

from gpnas._jit_once import jit_once
from gpnas.masks import tree
from gpnas.units._blocks import is_block
from gpnas.units._groups import UnitGroups
from gpnas.units._indexing import sum_owned


def active_units(groups: UnitGroups, variables: Any) -> dict[str, np.ndarray]:
    """Returns unit masks of a pruned network: units with nonzero outgoing weights are active.

    A unit whose outgoing weights are all zero does not affect the network, so `compact` can remove
    it. A unit whose incoming weights are zero may still have a constant output, and stays active
    (see `fold_constants`). A unit over whose activation an op sums (`summed`) is active unless all
    of its entries are zero.

    Args:
      groups: Groups found by `discover`.
      variables: The pruned variables, or some of their collections; on the host.

    Returns:
      `{group: (size,) bool}`. At least one unit per group is active, except for blocks.
    """
    nonzero = {path: np.asarray(leaf) != 0 for path, leaf in tree.leaves_by_path(variables).items()}

    @jit_once
    def read(nonzero: Any) -> dict[str, jax.Array]:
        side = {group.name: "all" if group.summed else "outgoing" for group in groups.groups}
        return {g.name: sum_owned(g, nonzero, side[g.name]) > 0 for g in groups.groups}

    found = {name: np.array(mask) for name, mask in read(nonzero).items()}
    for name, mask in found.items():
        mask[0] |= not mask.any() and not is_block(name)
    return found
