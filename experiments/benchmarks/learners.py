"""What a learner's step costs over the same dense step: noise, gates, sensitivities."""

from ml_collections import ConfigDict

from .measure import Measurement, Options, interleave, ratio, summary
from .subjects import config_of, fashion_mnist, trained


def learner_ratio(options: Options, method: str, target: float, **settings: str) -> Measurement:
    """A step of the method over dense training's, LeNet-300-100, both as training runs them.

    Args:
      options: How to measure.
      method: Name of its config.
      target: The ratio that is not to be exceeded.
      **settings: Fields of the method to change.
    """
    steps, rounds = (5, 2) if options.fast else (100, 30)
    data = fashion_mnist(options)
    config = config_of(options, method, "lenet300")
    config.method.update(settings)
    dense = config.copy_and_resolve_references()
    dense.method = ConfigDict({"name": "dense"})
    subjects = {method: trained(config, data, steps), "dense": trained(dense, data, steps)}
    taken = interleave(subjects, rounds)
    value = ratio(taken, method, "dense")
    lowest = min(taken[method]) / min(taken["dense"])
    return Measurement(
        f"{method}_ratio", value, f"{method} step / dense step", f"≤ {target}", value <= target,
        {"ratio_of_minima": lowest, "optimizer": config.optimizer.name, "images": data.name}
        | summary(taken, steps),
    )  # fmt: skip
