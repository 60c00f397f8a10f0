"""Arms with a separate run for each level: the cost of each run's network follows a curve."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments.studies.front_rivals.networks import Context, develop

PRUNING, OVERSHOOT = "pruning only", "overshoot"
#: Fields of the method of arms that only grow, from small networks.
GROWTH: Mapping[str, Mapping[str, Any]] = {
    "growing only": {"spare": 0.25},
    "random growth": {"name": "experiments.studies.front.arms:random_units"},
}
#: Fields of the method of each arm.
METHODS: Mapping[str, Mapping[str, Any]] = {
    PRUNING: {},
    **GROWTH,
    "growing with exchange": {"name": "experiments.studies.front.arms:exchange", "spare": 0.25},
    OVERSHOOT: {"spare": 0.25},
}


def develop_each(context: Context, arm: str, seed: int, rate: float) -> list[dict[str, Any]]:
    """Trains a network for each level.

    Args:
      context: Context of the study.
      arm: One of `METHODS`.
      seed, rate: Seed and learning rate of the runs.
    """
    config, name = context.config, arm.replace(" ", "-")
    return [
        develop(context, costs_on_the_way(config, arm, level), METHODS[arm], seed, rate, name)
        for level in config.front.front
    ]


def costs_on_the_way(config: ConfigDict, arm: str, level: float) -> tuple[float, ...]:
    """Returns the costs through which the run of an arm goes to a level.

    Args:
      config: The study's config.
      arm: One of `METHODS`.
      level: The final cost, as a fraction of the whole network's.
    """
    if arm == PRUNING:
        return 1.0, level
    first = config.seed_cost * level
    if arm == OVERSHOOT:
        return first, min(config.peak * level, 1.0), level
    return first, level
