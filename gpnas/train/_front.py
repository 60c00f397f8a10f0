"""A front of networks from one run: a network that shrinks, and branches that finish training."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from gpnas import units
from gpnas._files import sealed, write_json
from gpnas.data import Dataset
from gpnas.provenance import provenance
from gpnas.train._config import base
from gpnas.train._elastic import active_network
from gpnas.train._front_plan import (
    Front,
    branch_config,
    equal_epochs,
    level_epochs,
    main_config,
    relative_levels,
    scratch_config,
    split_config,
    uniform_architecture,
    uniform_units,
)
from gpnas.train._load_data import load_data
from gpnas.train._load_run import load_run
from gpnas.train._loop import train
from gpnas.train._plan import Plan, make_plan
from gpnas.train._rebuild import find_rebuild


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

    With `elastic`, a branch is a network of its own widths. Without, it has the arrays of the whole
    one, and inactive units stay inactive (`static_units`): any network whose units are found has
    such a front.

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
    settings, run = split_config(config)
    folder = pathlib.Path(workdir)
    data = load_data(run) if data is None else data
    levels, table = relative_levels(run, settings, folder, data)
    main = main_config(run, settings, levels)
    plan = make_plan(main, data)
    records = {"main": train(main, folder / "main", data)}
    active: dict[str, Mapping[str, Any]] = {}
    steps: dict[str, int] = {}
    rebuild = find_rebuild(main, data, plan) if main.elastic else None
    found: dict[str, Mapping[str, Any]] = {}
    for level, epoch in zip(settings.front, level_epochs(main.train.epochs, settings), strict=True):
        name = f"level-{level:g}"
        finished = load_run(folder / "main", "last", data, epoch=epoch)
        active[name], steps[name] = finished.units, epoch * plan.steps_per_epoch
        variables = finished.variables
        if rebuild is not None:
            found[name], variables = active_network(
                finished.plan, rebuild, variables, finished.units
            )
        branch = branch_config(main, settings, found.get(name), name)
        records[name] = train(branch, folder / name, data, variables=variables)
    uniform = {
        level: uniform_units(plan, cost, settings.front_by, table)
        for level, cost in zip(settings.front, levels, strict=True)
    }
    epochs = equal_epochs(plan, records.values(), uniform.values())
    scratch: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    for level in settings.front if settings.retrain else ():
        name = f"level-{level:g}"
        scratch[f"retrained-{level:g}"] = found[name], active[name]
    for level in settings.front if settings.baselines else ():
        assert rebuild is not None
        widths = uniform[level]
        scratch[f"uniform-{level:g}"] = uniform_architecture(plan, rebuild, widths), widths
    for name, (architecture, active[name]) in scratch.items():
        own = scratch_config(main, settings, architecture, epochs, name)
        records[name] = train(own, folder / name, data)
    summary = _summary(records, active, steps, plan, table)
    record = sealed({"config": config.to_dict(), **provenance(), **summary})
    write_json(folder / "front.json", record)
    return record


def _sizes(plan: Plan) -> dict[str, int]:
    """Units of each group of the whole network, in the order of its layers."""
    assert plan.groups is not None
    return {g.name: g.size for g in plan.groups.groups if not units.is_block(g.name)}


def _summary(
    records: Mapping[str, Mapping[str, Any]],
    active: Mapping[str, Mapping[str, np.ndarray]],
    steps: Mapping[str, int],
    plan: Plan,
    table: units.LatencyTable | None,
) -> dict[str, Any]:
    """The networks of a front, and what their training cost.

    Args:
      records: Of each run, by the name of its folder.
      active: Unit masks of each network.
      steps: Of the main run, at which each branch begins.
      plan: Of the main run.
      table: Latency of its layers, where that is the cost.
    """
    main = records["main"]
    metric = main["task"]["metric"]["name"]
    whole = main["cost"]["inference_macs_dense"]
    sizes, costs = _sizes(plan), plan.supernet.costs

    def latency(name: str) -> dict[str, float]:
        if table is None or costs is None:
            return {}
        return {"layers_ms": float(units.total_latency(costs, active[name], table))}

    def cost_of(name: str, kind: str, own: str) -> int:
        """Of the active units, which need not be all that a network has arrays for."""
        if main["config"]["elastic"] or costs is None:
            return int(records[name]["cost"][own])
        return round(float(units.total_cost(costs, active[name], kind)))

    def network(name: str) -> dict[str, Any]:
        record = records[name]
        fields = record["config"]["model"]
        macs = cost_of(name, "macs", "inference_macs_dense")
        return {
            "folder": name,
            "level": float(name.partition("-")[2]),
            "step": steps.get(name),
            "model": {k: v for k, v in fields.items() if k not in ("dtype", "axes", "conv")},
            "macs": macs,
            "relative_macs": macs / whole,
            "weights": record["cost"]["nonzeros"],
            "params": cost_of(name, "params", "params"),
            "units": {
                group: int(np.sum(active[name][group])) if group in active[name] else size
                for group, size in sizes.items()
            },
            f"test_{metric}": record["metrics"][f"test_{metric}_last"],
            f"val_{metric}": record["metrics"][f"val_{metric}_last"],
            "train_flops": record["cost"]["train_flops"],
            "wall_s": record["wall_s"],
            **latency(name),
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
