"""A front of networks from one run: a network that shrinks, and branches that finish training."""

import itertools
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from gpnas import units
from gpnas._files import sealed, write_json
from gpnas.data import Dataset
from gpnas.errors import UserError
from gpnas.methods import fields_of
from gpnas.provenance import provenance
from gpnas.train._config import base, check_config
from gpnas.train._elastic import active_network
from gpnas.train._load_data import load_data
from gpnas.train._load_run import load_run
from gpnas.train._loop import train
from gpnas.train._plan import Plan, make_plan
from gpnas.train._rebuild import Rebuild, find_rebuild

_FIRST = 0.1  # fraction of the main run before the network begins to shrink
_REST = 0.25  # fraction of the time between two levels at which the cost rests on the lower one


class Front(NamedTuple):
    """The fields of a front's config, beside those of a run.

    Attributes:
      front: Falling costs of the networks, as fractions of the whole network's.
      front_by: "macs", "params" or "flops".
      branch_epochs: Length of each branch.
      baselines: Whether networks of uniformly scaled widths are trained for comparison, from
        scratch and together with the training FLOPs of the front.
      retrain: Whether the networks of the front are trained from scratch, too, as long as those.
    """

    front: tuple[float, ...] = (0.5, 0.25, 0.12, 0.06)
    front_by: str = "macs"
    branch_epochs: int = 2
    baselines: bool = False
    retrain: bool = False


def front_config() -> ConfigDict:
    """The configuration of a front: that of its main run, `base`, and the fields of `Front`."""
    config = base(name="development_cost", every="auto", window="auto", protect="auto")
    config.update(Front()._asdict())
    config.model.name = "convnet"
    config.elastic = True
    config.elastic_round_to = 1
    config.optimizer.schedule = "constant"
    config.optimizer.warmup_at = 0.05
    return config


def train_front(
    config: ConfigDict, workdir: str | pathlib.Path, data: Dataset | None = None
) -> dict[str, Any]:
    """Trains a network that shrinks, and at each level of cost a branch of it to the end.

    The main run has a constant learning rate. In its second half, it reaches the levels one after
    the other, at ends of epochs. From there, the network without its inactive units is trained
    for `branch_epochs` more, with a rate that falls linearly to zero.

    Args:
      config: See `front_config`.
      workdir: Folder: `main`, `level-0.5`, … and `uniform-0.5`, … are folders of runs; front.json
        is the record.
      data: The data set, if it is loaded already.

    Returns:
      The record.

    Raises:
      UserError: For a config that cannot be, or a folder that another run has used.
      Diverged, Stopped: As `train`; the same call with `resume` goes on.
    """
    settings, run = _split(config)
    folder = pathlib.Path(workdir)
    data = load_data(run) if data is None else data
    main = main_config(run, settings)
    plan = make_plan(main, data)
    records, active, steps = {"main": train(main, folder / "main", data)}, {}, {}
    rebuild = find_rebuild(main, data, plan)
    found: dict[str, Mapping[str, Any]] = {}
    for level, epoch in zip(settings.front, level_epochs(main.train.epochs, settings), strict=True):
        name = f"level-{level:g}"
        finished = load_run(folder / "main", "last", data, epoch=epoch)
        active[name], steps[name] = finished.units, epoch * plan.steps_per_epoch
        found[name], variables = active_network(
            finished.plan, rebuild, finished.variables, finished.units
        )
        branch = branch_config(main, settings, found[name], name)
        records[name] = train(branch, folder / name, data, variables=variables)
    uniform = {level: uniform_units(plan, level, settings.front_by) for level in settings.front}
    epochs = equal_epochs(plan, records.values(), uniform.values())
    for level in settings.front if settings.retrain else ():
        name = f"retrained-{level:g}"
        active[name] = active[f"level-{level:g}"]
        scratch = scratch_config(main, settings, found[f"level-{level:g}"], epochs, name)
        records[name] = train(scratch, folder / name, data)
    for level in settings.front if settings.baselines else ():
        name = f"uniform-{level:g}"
        active[name] = uniform[level]
        architecture = uniform_architecture(plan, rebuild, uniform[level])
        scratch = scratch_config(main, settings, architecture, epochs, name)
        records[name] = train(scratch, folder / name, data)
    summary = _summary(records, active, _sizes(plan), steps)
    record = sealed({"config": config.to_dict(), **provenance(), **summary})
    write_json(folder / "front.json", record)
    return record


def level_epochs(epochs: int, settings: Front) -> list[int]:
    """Epochs of the main run after which the network has each level of cost.

    They divide the second half of the run evenly, and the last one is its end.

    Raises:
      UserError: If two would be the same.
    """
    count = len(settings.front)
    ends = [epochs - epochs // 2 * (count - 1 - i) // count for i in range(count)]
    if len(set(ends)) < count:
        raise UserError("train.epochs", epochs, f"{2 * count} or more, for {count} levels")
    return ends


def main_config(config: ConfigDict, settings: Front) -> ConfigDict:
    """The config of the main run, with its cost curve."""
    main = config.copy_and_resolve_references().unlock()
    ends = level_epochs(main.train.epochs, settings)
    points, before = [(0.0, 1.0), (_FIRST, 1.0)], _FIRST
    for level, end in zip(settings.front, ends, strict=True):
        at = end / main.train.epochs
        points += [(at - _REST * (at - before), level), (at, level)]
        before = at
    main.method.curve = tuple(points)
    main.method.cost = settings.front_by
    main.train.keep_epochs = tuple(ends)
    main.arm = main.arm or "front"
    return main


def branch_config(
    main: ConfigDict, settings: Front, architecture: Mapping[str, Any], name: str
) -> ConfigDict:
    """The config of a branch: the network that is left, dense, at a rate that falls to zero."""
    branch = _dense(main, architecture, name)
    branch.optimizer.schedule = "linear"
    branch.optimizer.warmup_at = branch.optimizer.decay_at = 0.0
    branch.train.epochs = settings.branch_epochs
    return branch


def scratch_config(
    main: ConfigDict, settings: Front, architecture: Mapping[str, Any], epochs: int, name: str
) -> ConfigDict:
    """The config of a network that is trained from its initialization, at the rates of a front.

    The rate is constant and then falls linearly, for the same fractions of the run as along the
    main run and a branch.
    """
    scratch = _dense(main, architecture, name)
    constant = main.train.epochs / (main.train.epochs + settings.branch_epochs)
    scratch.optimizer.schedule = "linear"
    scratch.optimizer.decay_at = constant
    scratch.optimizer.warmup_at = main.optimizer.warmup_at * constant
    scratch.train.epochs = epochs
    return scratch


def uniform_architecture(
    plan: Plan, rebuild: Rebuild, widths: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The network that has as many units as some masks."""
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), plan.variables)
    return active_network(plan, rebuild, variables, widths)[0]


def equal_epochs(
    plan: Plan, records: Iterable[Mapping[str, Any]], masks: Iterable[Mapping[str, Any]]
) -> int:
    """Epochs for which some networks are trained with the training FLOPs of some runs together.

    Args:
      plan: Of the main run.
      records: Of the runs.
      masks: Unit masks of the networks.
    """
    assert plan.supernet.costs is not None
    macs = sum(float(units.total_cost(plan.supernet.costs, one, "macs")) for one in masks)
    flops = sum(record["cost"]["train_flops"] for record in records)
    return max(round(flops / (6 * macs * plan.batch_size * plan.steps_per_epoch)), 1)


def uniform_units(plan: Plan, level: float, kind: str) -> dict[str, np.ndarray]:
    """Unit masks of the largest fraction of all groups that costs at most a part of the whole."""
    model = plan.supernet.costs
    assert model is not None
    whole = float(units.total_cost(model, {}, kind))

    def masks(fraction: float) -> dict[str, np.ndarray]:
        return {n: np.arange(k) < max(round(fraction * k), 1) for n, k in model.sizes.items()}

    fractions = np.linspace(0, 1, 1001)
    costs = [float(units.total_cost(model, masks(f), kind)) / whole for f in fractions]
    fitting = [f for f, c in zip(fractions, costs, strict=True) if c <= level]
    if not fitting:
        raise UserError("front", level, f"{costs[0]:.4f} or more: one unit of each layer")
    return masks(max(fitting))


def _split(config: ConfigDict) -> tuple[Front, ConfigDict]:
    run = config.copy_and_resolve_references().unlock()
    defaults = Front()._asdict()
    for name, default in defaults.items():
        if type(run.get(name)) is not type(default):
            raise UserError(name, run.get(name), f"a value of type {type(default).__name__}")
    settings = Front(*(run[name] for name in defaults))
    for name in defaults:
        del run[name]
    check_config(run)
    levels = settings.front
    real = all(isinstance(x, float | int) and not isinstance(x, bool) for x in levels)
    falls = real and all(a > b for a, b in itertools.pairwise(levels))
    if not levels or not falls or not 0 < levels[-1] <= levels[0] <= 1:
        raise UserError("front", levels, "falling fractions of the cost in (0, 1]")
    if settings.front_by not in units.KINDS:
        raise UserError("front_by", settings.front_by, ", ".join(units.KINDS))
    if settings.branch_epochs < 1:
        raise UserError("branch_epochs", settings.branch_epochs, "1 or more")
    for name in sorted({"curve", "cost"} & {*run.method}):
        raise UserError(f"method.{name}", run.method[name], "none: front and front_by determine it")
    if "curve" not in fields_of(run.method.name):
        raise UserError("method.name", run.method.name, "development_cost")
    return settings, run


def _dense(main: ConfigDict, architecture: Mapping[str, Any], name: str) -> ConfigDict:
    """The main run's config for another network, which is trained without masks."""
    config = main.copy_and_resolve_references().unlock()
    config.method = ConfigDict({"name": "dense"})
    config.elastic = False
    config.arm = name
    config.train.keep_epochs = ()
    config.train.init_from = ""
    place = {field: main.model[field] for field in ("dtype", "axes", "conv")}
    fields = {k: v for k, v in architecture["fields"].items() if k != "num_classes"}
    config.model = ConfigDict({"name": architecture["model"], **place, **fields})
    return config


def _sizes(plan: Plan) -> dict[str, int]:
    """Units of each group of the whole network, in the order of its layers."""
    assert plan.groups is not None
    return {g.name: g.size for g in plan.groups.groups if not units.is_block(g.name)}


def _summary(
    records: Mapping[str, Mapping[str, Any]],
    active: Mapping[str, Mapping[str, np.ndarray]],
    sizes: Mapping[str, int],
    steps: Mapping[str, int],
) -> dict[str, Any]:
    """The networks of a front, and what their training cost.

    Args:
      records: Of each run, by the name of its folder.
      active: Unit masks of each network.
      sizes: Units of each group of the whole network.
      steps: Of the main run, at which each branch begins.
    """
    main = records["main"]
    metric = main["task"]["metric"]["name"]
    whole = main["cost"]["inference_macs_dense"]

    def network(name: str) -> dict[str, Any]:
        record = records[name]
        fields = record["config"]["model"]
        return {
            "folder": name,
            "level": float(name.partition("-")[2]),
            "step": steps.get(name),
            "model": {k: v for k, v in fields.items() if k not in ("dtype", "axes", "conv")},
            "macs": record["cost"]["inference_macs_dense"],
            "relative_macs": record["cost"]["inference_macs_dense"] / whole,
            "weights": record["cost"]["weights"],
            "params": record["cost"]["params"],
            "units": {
                group: int(np.sum(active[name][group])) if group in active[name] else size
                for group, size in sizes.items()
            },
            f"test_{metric}": record["metrics"][f"test_{metric}_last"],
            f"val_{metric}": record["metrics"][f"val_{metric}_last"],
            "train_flops": record["cost"]["train_flops"],
            "wall_s": record["wall_s"],
        }

    found: dict[str, list[dict[str, Any]]] = {
        kind: [network(name) for name in records if name.startswith(f"{kind}-")]
        for kind in ("level", "uniform", "retrained")
    }
    own = [main, *(records[one["folder"]] for one in found["level"])]
    return {
        "task": main["task"],
        "kinds": main["kinds"],
        "dataset": main["dataset"],
        "seed": main["seed"],
        "whole": {"macs": whole, "params": main["cost"]["params"], "units": dict(sizes)},
        "networks": found["level"],
        "uniform": found["uniform"],
        "retrained": found["retrained"],
        "train_flops": sum(record["cost"]["train_flops"] for record in own),
        "train_flops_dense": main["cost"]["train_flops_dense"],
        "wall_s": round(sum(record["wall_s"] for record in own), 3),
    }
