"""Durations of the committed records, in steps: mask updates every 100, whatever a run's length."""

from ml_collections import ConfigDict

_STEPS = {"every": 100, "window": 20, "protect": 100, "rest": 100, "survival_age": 200}


def pinned(config: ConfigDict) -> ConfigDict:
    """The config with these durations where it leaves them to "auto"."""
    auto = {name: steps for name, steps in _STEPS.items() if config.method.get(name) == "auto"}
    config.method.update(auto)
    return config
