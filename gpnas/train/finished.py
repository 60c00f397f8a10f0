"""A run that has finished, read back from its folder."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from gpnas.data import Dataset
from gpnas.errors import UserError
from gpnas.train import checkpoint
from gpnas.train.config import base
from gpnas.train.loop import load_data
from gpnas.train.observe import unselected
from gpnas.train.plan import make_plan
from gpnas.train.program import make_program

NETWORKS = ("selected", "last")


class Finished(NamedTuple):
    """A run's end.

    Attributes:
      config: Its config.
      record: Its record.json.
      data: Its images.
      variables: Of the network, masked, as evaluation has them.
    """

    config: ConfigDict
    record: dict[str, Any]
    data: Dataset
    variables: Any


def read_run(workdir: pathlib.Path, network: str = "selected") -> Finished:
    """Reads a run of `gpnas.train.train` back.

    Args:
      workdir: Its folder.
      network: "selected" on the validation images, or "last".

    Raises:
      UserError: If there is no such network, the run has not finished, or lacks its checkpoints or
        its images.
    """
    if network not in NETWORKS:
        raise UserError("network", network, ", ".join(NETWORKS))
    try:
        record = json.loads((workdir / "record.json").read_text())
        config = _config(record["config"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        allowed = "the folder of a run that has finished, with its record.json"
        raise UserError("workdir", str(workdir), allowed) from error
    folder, seeds = _checkpoints(workdir, config.seed)
    data = load_data(config)
    if data.sha256 != record["dataset_sha256"]:
        raise UserError("data", data.sha256, f"the run's images, {record['dataset_sha256']}")
    plan = make_plan(config, data)
    program = make_program(plan, data, config.train.parallel, len(seeds))
    states = program.init([jax.random.key(seed) for seed in seeds])
    restored = checkpoint.restore(folder, (states, [unselected(program, s) for s in states]))
    if restored is None or restored[0] != record["total_steps"]:
        raise UserError("workdir", str(workdir), "a folder with the run's last checkpoint")
    _, (states, selected) = restored
    lane = seeds.index(config.seed)
    last = network == "last"
    variables = program.network(states[lane]) if last else selected[lane].variables
    return Finished(config, record, data, jax.device_get(variables))


def _config(known: Mapping[str, Any]) -> ConfigDict:
    """A config as it came back from JSON; a field that was added since then has its default."""
    known = _tuples(known)
    config = base(**known["method"])
    config.update(known)
    config.optimizer.arguments = ConfigDict(known["optimizer"]["arguments"])
    return config


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _tuples(inner) for name, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _checkpoints(workdir: pathlib.Path, seed: int) -> tuple[pathlib.Path, list[int]]:
    """The folder of the checkpoints, and the seeds that trained together."""
    for folder in sorted(workdir.glob("checkpoints*")):
        parts = folder.name.removeprefix("checkpoints").split("-")[1:]
        seeds = [int(part) for part in parts] or [seed]
        if seed in seeds:
            return folder, seeds
    allowed = "a run's folder with its checkpoints (seeds in lanes: the folder of the first)"
    raise UserError("workdir", str(workdir), allowed)
