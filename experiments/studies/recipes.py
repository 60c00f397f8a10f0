"""Settings shared by several studies."""

from typing import Any

from ml_collections import ConfigDict

# Durations of the committed records in steps, independent of a run's length.
_STEPS = {"every": 100, "window": 20}
#: Window of development in the committed records; its config now has 1.
WINDOW = 5


def pinned(config: ConfigDict) -> ConfigDict:
    """Returns the config with these durations instead of "auto"."""
    auto = {name: steps for name, steps in _STEPS.items() if config.method.get(name) == "auto"}
    config.method.update(auto)
    return config


def on(name: str, module: Any, epochs: int, batch_size: int, **method: Any) -> ConfigDict:
    """Returns a method's config on a data set, with some of its fields changed."""
    config = pinned(module.get_config())
    config.data.name = name
    config.train.update(epochs=epochs, batch_size=batch_size, tensorboard=False)
    config.method.update(method)
    return config


def mnist(module: Any, epochs: int, **method: Any) -> ConfigDict:
    """Returns a method's config on MNIST, batch 100, with some of its fields changed."""
    config = on("mnist", module, epochs, 100, **method)
    config.train.log_every = 540
    return config


def same_recipe(config: ConfigDict) -> None:
    """Sets the other arms' SGD, for methods whose configs follow their papers."""
    config.optimizer.update(weight_decay=5e-4, decay_at=0.0)
    config.optimizer.arguments.momentum = 0.9
