"""Units: neurons that live and die together, and what a network costs.

groups = discover(apply_fn, variables, images)
masks = full_masks(groups)
masks["params/Dense_0/kernel:1"][::2] = False
small_apply, small_variables = compact(apply_fn, variables, groups, masks)
"""

from gpnas.units import _skip_gradients as bridge
from gpnas.units import grow, score
from gpnas.units._active import living_units
from gpnas.units._blocks import is_block, with_blocks, without_blocks
from gpnas.units._compact import compact
from gpnas.units._discover import discover
from gpnas.units._fold import fold_constants
from gpnas.units._groups import (
    Member,
    Refusal,
    UnitGroup,
    UnitGroups,
    UnitMasks,
    full_masks,
    weight_masks,
)
from gpnas.units._on_units import UnitsState, of_params, of_units, readers
from gpnas.units._resize import resize
from gpnas.units._verify import verify
from gpnas.units.cost._latency import measure_layers, total_latency, unit_latency
from gpnas.units.cost._network import Cost, Macs, macs, network_cost, training_macs
from gpnas.units.cost._unit_cost import Counts, count, total_cost, unit_cost

__all__ = [
    "Cost", "Counts", "Macs", "Member", "Refusal", "UnitGroup", "UnitGroups", "UnitMasks",
    "UnitsState",
    "bridge", "compact", "count", "discover", "fold_constants", "full_masks", "grow", "is_block",
    "living_units", "macs", "measure_layers", "network_cost",
    "of_params", "of_units", "readers", "resize", "score", "total_cost", "total_latency",
    "training_macs", "unit_cost", "unit_latency", "verify", "weight_masks", "with_blocks",
    "without_blocks",
]  # fmt: skip
