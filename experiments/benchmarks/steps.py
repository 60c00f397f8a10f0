"""Cost of masks: time of a step with masks, including mask updates, over a dense step."""

from .measure import Measurement, Options, by_backend, interleave, ratio, summary
from .subjects import config_of, every, fashion_mnist, plain_steps, random_data, trained

_METHODS = ("rigl", "development")
_TARGET = 1.1
_CONVOLUTIONS = 1.03  # limit on an accelerator


def segments_ratio(options: Options) -> Measurement:
    """Time of steps of development in segments over the same steps in one loop, LeNet-300."""
    steps, rounds = (5, 2) if options.fast else (100, 30)
    data, subjects = fashion_mnist(options), {}
    for loop in ("segments", "scan"):
        config = config_of(options, "development", "lenet300")
        every(config, steps)
        config.train.loop, config.train.log_every = loop, steps
        subjects[loop] = trained(config, data, steps)
    taken = interleave(subjects, rounds)
    value = ratio(taken, "segments", "scan")
    lowest = min(taken["segments"]) / min(taken["scan"])
    return Measurement(
        "segments_ratio", value, "step in segments / in a scan", f"≤ {_TARGET}", value <= _TARGET,
        {"ratio_of_minima": lowest, "images": data.name, "steps": steps} | summary(taken, steps),
    )  # fmt: skip


def masked_step_ratio(options: Options, model: str) -> Measurement:
    """The larger ratio of RigL and development; a timed call has 100 steps and one mask update."""
    steps, rounds = (5, 2) if options.fast else (100, 30 if model == "lenet300" else 3)
    data = fashion_mnist(options) if model == "lenet300" else random_data((32, 32, 3), 1024)
    subjects = {}
    for method in _METHODS:
        config = config_of(options, method, model)
        every(config, steps)
        subjects[method] = trained(config, data, steps)
    subjects["dense"] = plain_steps(config_of(options, "development", model), data, steps)
    taken = interleave(subjects, rounds)
    ratios = {method: ratio(taken, method, "dense") for method in _METHODS}
    lowest = {method: min(taken[method]) / min(taken["dense"]) for method in _METHODS}
    value = max(ratios.values())
    name = "masked_step_ratio" + ("" if model == "lenet300" else f"_{model}")
    target = _TARGET if model == "lenet300" else by_backend(_TARGET, _CONVOLUTIONS)
    return Measurement(
        name, value, "masked step / dense step", f"≤ {target}", value <= target,
        {"ratios": ratios, "ratios_of_minima": lowest, "images": data.name, "steps": steps}
        | summary(taken, steps),
    )  # fmt: skip
