"""Step cost relative to a dense step, for methods with noise, gates or sensitivities."""

from ml_collections import ConfigDict

from .measure import Measurement, Options, interleave, ratio, summary
from .subjects import config_of, fashion_mnist, trained


def learner_ratio(options: Options, method: str, target: float, **settings: str) -> Measurement:
    """Time of a method's step over that of dense training, LeNet-300-100, as in training runs.

    Args:
      options: Settings of the measurement.
      method: Name of the method's config.
      target: Upper limit of the ratio.
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
