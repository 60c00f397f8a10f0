"""Costs of networks and their units: parameters, MACs, FLOPs, latency, training.

All numbers come from the jaxpr of the function (`_op_counts`). `macs` attributes MACs to leaves;
`cost_model` attributes parameters, MACs, FLOPs and latency to units; `network_cost` and
`training_macs` apply masks and schedules; `output_layers` finds the last products. Everything
here is exported by `gpnas.units`.
"""

from gpnas.units.cost._latency import LatencyTable, measure_layers, total_latency, unit_latency
from gpnas.units.cost._layers import TimedLayer
from gpnas.units.cost._network import Cost, Macs, macs, network_cost, training_macs
from gpnas.units.cost._output_layers import output_layers
from gpnas.units.cost._unit_cost import KINDS, CostModel, cost_model, total_cost, unit_cost

__all__ = [
    "KINDS", "Cost", "CostModel", "LatencyTable", "Macs", "TimedLayer", "cost_model", "macs",
    "measure_layers", "network_cost", "output_layers", "total_cost", "total_latency",
    "training_macs", "unit_cost", "unit_latency",
]  # fmt: skip
