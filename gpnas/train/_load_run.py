"""Finished runs, loaded from their folders."""

import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gpnas._files import PathLike
from gpnas.data import Dataset
from gpnas.errors import UserError, check_choice, explained
from gpnas.train import _checkpoint
from gpnas.train._config import config_from_json, config_key
from gpnas.train._load_data import load_data
from gpnas.train._observe import no_selections
from gpnas.train._plan import Plan, make_plan
from gpnas.train._program import Program, make_program
from gpnas.train._workdir import read_about, seeds_together
from gpnas.train.task import Task

NETWORKS = ("selected", "last")
_FIELDS = {
    "metrics": Mapping, "dataset_sha256": str, "total_steps": int, "seed": int, "arm": str,
    "study": str,
}  # fmt: skip


class Finished(NamedTuple):
    """A finished run.

    Attributes:
      config: Config of the run.
      record: Its record.json.
      data: Its data set.
      variables: Variables of the network for evaluation, masked.
      plan: Its plan.
      units: `{group: (size,) bool}`, unit masks of the last network, if the method develops units.
    """

    config: ConfigDict
    record: dict[str, Any]
    data: Dataset
    variables: Any
    plan: Plan
    units: Mapping[str, Any]


def load_run(
    workdir: PathLike,
    network: str = "selected",
    data: Dataset | None = None,
    task: Task | None = None,
    epoch: int | None = None,
    plan: Plan | None = None,
) -> Finished:
    """Loads a finished run of `gpnas.train.train`.

    Args:
      workdir: Folder of the run.
      network: "selected" (on the validation set) or "last".
      data: Data set of the run, if already loaded.
      task: Task of the run, if one was passed to `train`.
      epoch: Epoch of the network, if its checkpoint was kept; None: the end.
      plan: Plan of the run, if already made.

    Raises:
      UserError: If there is no such network, the run has not finished, or its checkpoints or data
        are missing.
    """
    check_choice("network", network, NETWORKS)
    workdir = pathlib.Path(workdir)
    record = _record(workdir)
    broken = (AttributeError, LookupError, TypeError, ValueError)
    allowed = "a run's record, with its config"
    with explained("workdir", str(workdir / "record.json"), allowed, *broken):
        config = config_from_json(record["config"])
    data = load_data(config) if data is None else data
    if data.sha256 != record["dataset_sha256"]:
        raise UserError("data", data.sha256, f"the run's data, {record['dataset_sha256']}")
    size = record.get("batch_size")
    plan = plan or make_plan(config, data, task=task, batch_size=size)
    end = record.get("stopped_step", record["total_steps"])
    step = end if epoch is None else epoch * plan.steps_per_epoch
    for folder, seeds in _checkpoints(workdir, record, step):
        program = make_program(plan, data, len(seeds))
        shapes = jax.eval_shape(functools.partial(_fresh, program, seeds))  # compiles nothing
        blank = jax.tree.map(_blank, shapes)
        restored = _checkpoint.restore(
            folder, blank, functools.partial(_is_of, config, seeds), step
        )
        if restored is not None and restored[0] == step:
            _, (states, selected) = restored
            replica = seeds.index(config.seed)
            last, own = network == "last", states[replica]
            units = own.mask_state.units if plan.method.hooks.capacity else {}
            variables = program.networks([own])[0] if last else selected[replica].variables
            variables, units = jax.device_get((variables, units))
            return Finished(config, record, data, variables, plan, units)
    allowed = "a folder with the run's last checkpoint (of replicas: beside the first seed's)"
    raise UserError("workdir", str(workdir), allowed)


def _fresh(program: Program, seeds: Sequence[int]) -> Any:
    """Returns initial states and selections, as a checkpoint contains them."""
    states = program.init([jax.random.key(seed) for seed in seeds])
    return states, no_selections(program, states)


def _blank(like: jax.ShapeDtypeStruct) -> Any:
    if jax.dtypes.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), like.shape)
    return np.zeros(like.shape, like.dtype)


def _record(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns the record of a finished run."""
    path = workdir / "record.json"
    if not path.exists():
        allowed = "the folder of a run that has finished, with its record.json"
        if (workdir / "front.json").exists():
            names = sorted(path.parent.name for path in workdir.glob("*/record.json"))
            allowed = f"the folder of a network of this front: {', '.join(names)}"
        raise UserError("workdir", str(workdir), allowed)
    record = read_about(path)
    for field, kind in _FIELDS.items():
        if not isinstance(record.get(field), kind):
            raise UserError("workdir", str(path), f"a run's record; this one lacks {field}")
    return record


def _is_of(config: ConfigDict, seeds: Sequence[int], known: Any) -> bool:
    """Returns whether a checkpoint is of a config and its seeds; without `about` it is accepted."""
    if known is None:
        return True
    there = [config_key(run["config"]) for run in known["runs"]]
    return there == [config_key(config.to_dict()) | {"seed": seed} for seed in seeds]


def _checkpoints(
    workdir: pathlib.Path, record: Mapping[str, Any], step: int
) -> Iterator[tuple[pathlib.Path, Sequence[int]]]:
    """Yields possible folders of the run's last checkpoint, and the seeds that trained together."""
    named = record.get("checkpoints")  # missing in older records
    folders = [workdir / str(named)] if named else sorted(workdir.glob("checkpoints*"))
    for folder in folders:
        seeds = seeds_together(folder) or (record["seed"],)
        if record["seed"] in seeds and step in _checkpoint.steps(folder):
            yield folder, seeds
