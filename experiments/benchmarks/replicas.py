"""Seeds as replicas of one program, compared with one after another."""

from typing import Any

from ml_collections import ConfigDict

from gpnas.data import Dataset, load

from .measure import Measurement, Options, interleave, ratio, summary
from .subjects import BATCH, config_of, every, fashion_mnist, random_data, trained
from .training import plain_run, seconds_of, whole_run

_SEEDS = 5
_MANY = 24
_SLOWER = 2.0


def replicas_ratio(options: Options) -> Measurement:
    """Seeds per hour, five replicas over one after another, for a tiny network and LeNet-300.

    The tiny network has widths 32 and 16 and trains on the digits. Both use the program of
    `gpnas.train` with development. Seeds per hour assume runs of ten epochs of Fashion-MNIST's
    length.
    """
    images = {"tiny": load("digits"), "lenet300": fashion_mnist(options)}
    steps, rounds = (5, 2) if options.fast else (100, 20)
    details: dict = {}
    for name, data in images.items():
        config = config_of(options, "development", "lenet300")
        if name == "tiny":
            config.model.widths = (32, 16)
        details[name] = _seeds_per_hour(config, data, steps, rounds)
    return _measurement("replicas_ratio", details["tiny"]["ratio"], details)


def replicas_ratio_conv(options: Options) -> Measurement:
    """The same for the small convolutional network `convnet` on random images of 28 × 28 pixels.

    Convolutions of replicas become grouped convolutions, unless they are computed as matrix
    products (`model.conv="im2col"`, the default on a CPU).
    """
    steps, rounds = (2, 1) if options.fast else (20, 10)
    data = random_data((28, 28, 1), 2000 if options.fast else 10_000)
    config = config_of(options, "development", "convnet")
    found = _seeds_per_hour(config, data, steps, rounds)
    return _measurement("replicas_ratio_conv", found["ratio"], {"convnet": found})


def _seeds_per_hour(config: ConfigDict, data: Dataset, steps: int, rounds: int) -> dict[str, Any]:
    """Returns the times of both ways of training, seeds per hour, and their ratio."""
    taken = interleave(
        {
            "replicas": trained(config, data, steps, _SEEDS),
            "one seed": trained(config, data, steps),
        },
        rounds,
    )
    found = summary(taken, steps)
    together, one = (found["median_ms"][subject] for subject in taken)
    run_of = 54_000 // BATCH * 10
    return found | {
        "ratio": _SEEDS * one / together,
        "seeds_per_hour": {
            "replicas": round(_SEEDS * 3.6e6 / (together * run_of)),
            "one after the other": round(3.6e6 / (one * run_of)),
        },
    }


def _measurement(name: str, value: float, details: dict[str, Any]) -> Measurement:
    unit = "seeds an hour, as replicas / in turn"
    return Measurement(name, value, unit, "> 1", value > 1, details)


def replicas_loop_ratio(options: Options) -> Measurement:
    """Time of a run of 24 replicas over a plain loop of 24 replicas, LeNet-300, ten epochs.

    The time of gpnas includes the same parts as in `loop_ratio`: masks, logs, evaluations,
    checkpoints and records of each seed. The plain loop runs each epoch as one compiled program of
    all replicas, with the same evaluations.
    """
    data, seeds = fashion_mnist(options), 3 if options.fast else _MANY
    config = options.configs["development"]()
    config.train.batch_size, config.data.name = BATCH, data.name
    config.train.epochs = 1 if options.fast else 10
    if options.fast:
        every(config, 5)
    plain = plain_run(config, data, "scan", seeds)
    plain()
    taken: dict[str, list[float]] = {"gpnas": [], "plain": []}
    for _ in range(1 if options.fast else 3):
        taken["gpnas"].append(whole_run(config, data, seeds)[0])
        taken["plain"].append(seconds_of(plain))
    value = ratio(taken, "gpnas", "plain")
    return Measurement(
        "replicas_loop_ratio", value,
        f"whole run of {seeds} seeds / compiled scan of {seeds} replicas",
        f"≤ {_SLOWER}", value <= _SLOWER,
        {"seeds": seeds, "epochs": config.train.epochs, "images": data.name} | summary(taken),
    )  # fmt: skip
