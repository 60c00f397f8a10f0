"""Seeds as replicas of one program against one after the other."""

from gpnas.data import load

from .measure import Measurement, Options, interleave, summary
from .subjects import BATCH, config_of, fashion_mnist, trained

_SEEDS = 5


def lanes_ratio(options: Options) -> Measurement:
    """Seeds an hour of five replicas over one after the other, of a tiny network; LeNet-300 beside.

    Tiny: the digits, widths 32 and 16. Both run the program of `gpnas.train`, development; seeds an
    hour are for runs of ten epochs of Fashion-MNIST's length.
    """
    images = {"tiny": load("digits"), "lenet300": fashion_mnist(options)}
    steps, rounds = (5, 2) if options.fast else (100, 20)
    details: dict = {}
    for name, data in images.items():
        config = config_of(options, "development", "lenet300")
        if name == "tiny":
            config.model.widths = (32, 16)
        taken = interleave(
            {
                "lanes": trained(config, data, steps, _SEEDS),
                "one seed": trained(config, data, steps),
            },
            rounds,
        )
        found = summary(taken, steps)
        together, one = (found["median_ms"][subject] for subject in taken)
        run_of = 54_000 // BATCH * 10
        details[name] = found | {
            "ratio": _SEEDS * one / together,
            "seeds_per_hour": {
                "lanes": round(_SEEDS * 3.6e6 / (together * run_of)),
                "one after the other": round(3.6e6 / (one * run_of)),
            },
        }
    value = details["tiny"]["ratio"]
    return Measurement(
        "lanes_ratio", value, "seeds an hour, in lanes / in turn", "> 1", value > 1, details
    )
