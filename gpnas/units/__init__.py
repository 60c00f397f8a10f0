"""Units: neurons that live and die together, and what a network costs.

groups = discover(apply_fn, variables, images)
masks = full_masks(groups)
masks["params/Dense_0/kernel:1"][::2] = False
small_apply, small_variables = compact(apply_fn, variables, groups, masks)
"""

from gpnas.units import bridge, grow, score
from gpnas.units.blocks import is_block, with_blocks, without_blocks
from gpnas.units.cost import Cost, Macs, macs, network_cost, training_macs
from gpnas.units.count import Counts, count, total_cost, unit_cost
from gpnas.units.discover import discover
from gpnas.units.fold import fold_constants
from gpnas.units.group import (
    Member,
    Refusal,
    UnitGroup,
    UnitGroups,
    UnitMasks,
    full_masks,
    weight_masks,
)
from gpnas.units.latency import measure_layers, total_latency, unit_latency
from gpnas.units.living import living_units
from gpnas.units.resize import resize
from gpnas.units.shrink import compact
from gpnas.units.transform import UnitsState, of_params, of_units, readers
from gpnas.units.verify import verify

__all__ = [
    "Cost", "Counts", "Macs", "Member", "Refusal", "UnitGroup", "UnitGroups", "UnitMasks",
    "UnitsState",
    "bridge", "compact", "count", "discover", "fold_constants", "full_masks", "grow", "is_block",
    "living_units", "macs", "measure_layers", "network_cost",
    "of_params", "of_units", "readers", "resize", "score", "total_cost", "total_latency",
    "training_macs", "unit_cost", "unit_latency", "verify", "weight_masks", "with_blocks",
    "without_blocks",
]  # fmt: skip
