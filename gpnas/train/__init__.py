"""Training: one state, one step, one loop.

`init_state` and `make_step` serve a loop of one's own; `train` is the whole run of a config.
"""

from gpnas._stop import Stopped
from gpnas.train.config import base
from gpnas.train.loop import load_data, train, train_lanes
from gpnas.train.run import Diverged
from gpnas.train.state import TrainState
from gpnas.train.step import Metrics, init_state, make_step

__all__ = [
    "Diverged", "Metrics", "Stopped", "TrainState", "base", "init_state", "load_data", "make_step",
    "train", "train_lanes",
]  # fmt: skip
