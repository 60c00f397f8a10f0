"""Preparation of a run: checks of config, data and folder, consistent over all processes."""

import operator
import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from gpnas.data import Dataset
from gpnas.errors import UserError
from gpnas.train import _analysis, _checkpoint, _elastic, _processes
from gpnas.train._config import check_config, config_key, shared_settings
from gpnas.train._deterministic import set_deterministic
from gpnas.train._feed import check_feed
from gpnas.train._initial import check_variables, load_variables
from gpnas.train._load_data import load_data
from gpnas.train._plan import Plan, make_plan
from gpnas.train._workdir import check_begun, check_workdirs, checkpoint_folder
from gpnas.train.task import Task

#: Fields that must have these values if several seeds train together.
_TOGETHER = {
    "train.parallel": "jit", "train.shard_min_size": 0, "train.patience": 0, "elastic": False,
}  # fmt: skip


def separated_by(config: ConfigDict) -> dict[str, Any]:
    """Returns the fields of a config, with their values, that require seeds to train one by one."""
    values = {field: operator.attrgetter(field)(config) for field in _TOGETHER}
    return {field: value for field, value in values.items() if value != _TOGETHER[field]}


def checked_plan(config: ConfigDict, data: Dataset, task: Task | None = None) -> Plan:
    """Plans a run after all checks that need its data.

    Args:
      config: Config of the run.
      data: Its data set.
      task: A task that replaces the config's.

    Raises:
      UserError: If the run is not possible.
    """
    plan = make_plan(config, data, task=task)
    check_feed(config.train, data, plan.stream)
    if config.elastic:
        _elastic.check_elastic(config, data, plan)
    return plan


def prepare(
    configs: Sequence[ConfigDict],
    folders: Sequence[pathlib.Path],
    data: Dataset | None,
    task: Task | None,
    variables: Any,
) -> tuple[Dataset, Plan, pathlib.Path, Any]:
    """Checks and plans a run; writes nothing.

    Args:
      configs, data, task, variables: As for `train_replicas`.
      folders: One folder per config.

    Returns:
      Data set, plan, folder of the checkpoints, and initial variables; None for the network's own,
      or if a checkpoint will be restored.

    Raises:
      UserError: For an invalid argument; in all processes if one detects it.
    """
    config = configs[0]
    with _processes.together():
        _check_configs(configs)
        for field, given, kind in (("data", data, Dataset), ("task", task, Task)):
            if given is not None and not isinstance(given, kind):
                raise UserError(field, type(given).__name__, f"a gpnas {kind.__name__}, or None")
    for c in configs:
        _processes.check_same(shared_settings(c.to_dict()))
    _processes.from_first(lambda: check_workdirs(folders, configs))
    with _processes.together():
        data = load_data(config) if data is None else data
        plan = checked_plan(config, data, task)
    _processes.check_same({"data": data.sha256, "train.feed": plan.stream})
    seeds = [c.seed for c in configs]
    checkpoints = checkpoint_folder(folders, seeds)
    _processes.from_first(lambda: check_begun(folders, seeds))
    begun = _processes.from_first(lambda: bool(_checkpoint.steps(checkpoints)))
    with _processes.together():
        if variables is not None:
            check_variables(variables, plan.variables)
        elif not begun:
            variables = load_variables(config.train, plan.variables)
    return data, plan, checkpoints, None if begun else variables


def _check_configs(configs: Sequence[ConfigDict]) -> None:
    """Checks that seeds can train together."""
    for one in configs:
        check_config(one)
        set_deterministic(one.train.deterministic)
        if not 0 <= one.seed < 2**32:
            raise UserError("seed", one.seed, "0 to 2**32 - 1")
    shared = [config_key(c.to_dict()) | {"seed": None} for c in configs]
    if any(one != shared[0] for one in shared):
        raise ValueError("train_replicas: got other configs, allowed: ones that differ in the seed")
    for field, value in separated_by(configs[0]).items() if len(configs) > 1 else ():
        raise UserError(field, value, f"{_TOGETHER[field]}, where several seeds train at once")
    _analysis.find_analyses(configs[0].analysis)
