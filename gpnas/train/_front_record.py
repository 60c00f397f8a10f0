"""The record of a front: its networks, the widths along the main run, and their costs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gpnas import units
from gpnas.train._plan import Plan

_PLACE = ("dtype", "axes", "conv")  # fields of a model for its implementation


class Trained(NamedTuple):
    """All runs of a front.

    Attributes:
      records: Record of each run by folder; that of the main run is "main".
      active: Unit masks of each network by folder.
      steps: Steps of the main run at which each branch begins.
      plan: Plan of the main run.
      table: Latencies of its layers, if they are the cost.
      seconds: Duration of the main run and the branches, several of which may train at once.
    """

    records: Mapping[str, Mapping[str, Any]]
    active: Mapping[str, Mapping[str, np.ndarray]]
    steps: Mapping[str, int]
    plan: Plan
    table: units.LatencyTable | None
    seconds: float


def front_record(trained: Trained) -> dict[str, Any]:
    """Returns the content of front.json without the config: networks by kind, widths, costs."""
    main = trained.records["main"]
    found = {
        kind: [_network(trained, name) for name in trained.records if name.startswith(f"{kind}-")]
        for kind in ("level", "uniform", "retrained")
    }
    own = [main, *(trained.records[one["folder"]] for one in found["level"])]
    return {
        "task": main["task"],
        "kinds": main["kinds"],
        "dataset": main["dataset"],
        "dataset_sha256": main["dataset_sha256"],
        "seed": main["seed"],
        "whole": {
            "macs": main["cost"]["inference_macs_dense"],
            "params": main["cost"]["params"],
            "units": trained.plan.groups.sizes,
        },
        "widths": [{"step": at["step"], "units": at["units"]} for at in main["curve"]],
        "networks": found["level"],
        "uniform": found["uniform"],
        "retrained": found["retrained"],
        "train_flops": sum(record["cost"]["train_flops"] for record in own),
        "train_flops_dense": main["cost"]["train_flops_dense"],
        "wall_s": round(trained.seconds, 3),
    }


def _network(trained: Trained, name: str) -> dict[str, Any]:
    """Returns the description of a network by folder."""
    record, active = trained.records[name], trained.active[name]
    metric, model = record["task"]["metric"]["name"], record["config"]["model"]
    costs = _costs(trained, name)
    return {
        "folder": name,
        "level": float(name.partition("-")[2]),
        "step": trained.steps.get(name),
        "model": {field: value for field, value in model.items() if field not in _PLACE},
        **costs,
        "relative_macs": costs["macs"] / trained.records["main"]["cost"]["inference_macs_dense"],
        "weights": record["cost"]["nonzeros"],
        "units": {
            group: int(np.sum(active[group])) if group in active else size
            for group, size in trained.plan.groups.sizes.items()
        },
        f"test_{metric}": record["metrics"][f"test_{metric}_last"],
        f"val_{metric}": record["metrics"][f"val_{metric}_last"],
        "train_flops": record["cost"]["train_flops"],
        "wall_s": record["wall_s"],
    }


def _costs(trained: Trained, name: str) -> dict[str, float]:
    """Returns the costs of the active units, which may be fewer than the units of the arrays."""
    record, model = trained.records[name], trained.plan.supernet.costs
    assert model is not None
    masks, found = trained.active[name], {}
    if trained.table is not None:
        found["layers_ms"] = float(units.total_latency(model, masks, trained.table))
    if trained.records["main"]["config"]["elastic"]:
        cost = record["cost"]
        return {"macs": cost["inference_macs_dense"], "params": cost["params"], **found}
    counted = {
        kind: round(float(units.total_cost(model, masks, kind))) for kind in ("macs", "params")
    }
    return {**counted, **found}
