"""Wall-clock of a front of four networks, compilation included, over that of one dense network."""

import functools
import pathlib
import tempfile

from gpnas.timing import without_stored_programs
from gpnas.train import train_front

from .measure import Measurement, Options, Seconds, ratio, summary
from .subjects import fashion_mnist
from .training import seconds_of

#: Names of the measurement by length of the training, relative to that of `configs/front.py`.
WALL_RATIOS = {1: "front_wall_ratio", 3: "front_wall_ratio_long"}
_TARGET = 1.0


def front_wall_ratio(options: Options, times: int) -> Measurement:
    """Time of the front's main run and branches over that of a whole network trained as long.

    Settings are those of `configs/front.py`, with `times` as many epochs.
    """
    rounds = 1 if options.fast or times > 1 else 3
    config = options.configs["front"]()
    config.train.tensorboard = False
    config.train.epochs *= times
    config.branch_epochs *= times
    if options.fast:
        config.front, config.train.epochs = (0.5,), 4
    data = fashion_mnist(options)
    taken: Seconds = {"front": [], "dense": []}
    levels = {"front": config.front, "dense": (1.0,)}
    for _ in range(rounds):
        for name, front in levels.items():
            config.front = front
            with tempfile.TemporaryDirectory() as folder, without_stored_programs():
                run = functools.partial(train_front, config, pathlib.Path(folder) / name, data)
                taken[name].append(seconds_of(run))
    value = ratio(taken, "front", "dense")
    return Measurement(
        WALL_RATIOS[times], value, "front of 4 networks / dense network", f"≤ {_TARGET}",
        value <= _TARGET, {"images": data.name} | summary(taken),
    )  # fmt: skip
