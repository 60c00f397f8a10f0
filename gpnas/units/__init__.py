"""Units (neurons, channels, heads, blocks) of any JAX function, and costs of networks.

    >>> import jax, jax.numpy as jnp
    >>> from gpnas import models, units
    >>> network, images = models.LeNet300(widths=(8, 4)), jnp.ones((2, 5, 5, 1))
    >>> variables = network.init(jax.random.key(0), images)
    >>> groups = units.discover(network.apply, variables, images)
    >>> masks = units.full_masks(groups)
    >>> masks["params/Dense_0/kernel:1"][::2] = False
    >>> small_apply, small_variables = units.compact(network.apply, variables, groups, masks)
    >>> small_variables["params"]["Dense_0"]["kernel"].shape
    (25, 4)

`score` and `grow` are namespaces: scores of units, and initializations of grown units.
"""

from gpnas.units import grow, score
from gpnas.units._active import active_units
from gpnas.units._blocks import is_block, with_blocks, without_blocks
from gpnas.units._compact import compact
from gpnas.units._cost_budget import Costs, cost_budget, fewest_units, relative_costs
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
from gpnas.units._layer_summaries import LayerSummary, layer_summaries
from gpnas.units._on_units import UnitsState, groups_in_params, on_units, outgoing_masks
from gpnas.units._resize import resize
from gpnas.units._skip_gradients import skip_gradients
from gpnas.units._verify import relative_difference, verify
from gpnas.units.cost import (
    KINDS,
    Cost,
    CostModel,
    LatencyTable,
    Macs,
    TimedLayer,
    cost_model,
    macs,
    measure_layers,
    network_cost,
    output_layers,
    total_cost,
    total_latency,
    training_macs,
    unit_cost,
    unit_latency,
)

__all__ = [
    "KINDS", "Cost", "CostModel", "Costs", "LatencyTable", "LayerSummary", "Macs", "Member",
    "Refusal", "TimedLayer", "UnitGroup", "UnitGroups", "UnitMasks", "UnitsState", "active_units",
    "compact", "cost_budget", "cost_model", "discover", "fewest_units", "fold_constants",
    "full_masks", "groups_in_params", "grow", "is_block", "layer_summaries",
    "macs", "measure_layers", "network_cost", "on_units", "outgoing_masks", "output_layers",
    "relative_costs", "relative_difference", "resize", "score", "skip_gradients", "total_cost",
    "total_latency", "training_macs", "unit_cost", "unit_latency", "verify", "weight_masks",
    "with_blocks", "without_blocks",
]  # fmt: skip
