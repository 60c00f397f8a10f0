"""Training: one state, one step, one loop.

`init_state` and `make_step` are for custom training loops. `train` trains a config and writes its
record, `study` creates the config of several runs, and `load_run` loads a finished run.
"""

from gpnas._locks import InUse
from gpnas._stop import Stopped
from gpnas.train import distributed, task
from gpnas.train._build import build_model, build_task
from gpnas.train._config import base, check_config, config_from_json, config_key
from gpnas.train._front import front_config, train_front
from gpnas.train._load_data import load_data
from gpnas.train._load_run import Finished, load_run
from gpnas.train._loop import train, train_replicas
from gpnas.train._metrics import Progress, progress
from gpnas.train._network import check_task
from gpnas.train._optimizer import find_optimizer, scale_by_rate
from gpnas.train._placement import shardings
from gpnas.train._plan import Plan, make_plan
from gpnas.train._program import make_program
from gpnas.train._run import Diverged
from gpnas.train._state import TrainState
from gpnas.train._step import Metrics, init_state, make_step, state_of
from gpnas.train._study import (
    RunGroup,
    arms_named,
    data_of,
    missing_groups,
    run_group,
    run_key,
    run_study,
    settings,
    study,
)
from gpnas.train.task import Aux, Metric, Task, classification, percent, supervised

__all__ = [
    "Aux", "Diverged", "Finished", "InUse", "Metric", "Metrics", "Plan", "Progress", "RunGroup",
    "Stopped", "Task", "TrainState", "arms_named", "base", "build_model", "build_task",
    "check_config", "check_task", "classification", "config_from_json", "config_key", "data_of",
    "distributed", "find_optimizer",
    "front_config", "init_state", "load_data", "load_run", "make_plan",
    "make_program", "make_step", "missing_groups", "percent", "progress", "run_group", "run_key",
    "run_study", "scale_by_rate", "settings", "shardings", "state_of", "study", "supervised",
    "task", "train", "train_front", "train_replicas",
]  # fmt: skip
