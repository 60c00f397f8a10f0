"""Units: what a network costs, before a run and after it."""

from gpnas.units.cost import Cost, macs_of_calls, macs_per_weight, network_cost, training_macs

__all__ = ["Cost", "macs_of_calls", "macs_per_weight", "network_cost", "training_macs"]
