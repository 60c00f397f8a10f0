"""The record of a run: one JSON object that says what was run, where, and what came out."""

import datetime
import os
import pathlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import gpnas
from gpnas.data import Dataset
from gpnas.masks import summary
from gpnas.train.plan import Plan
from gpnas.train.state import TrainState
from gpnas.units import network_cost

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def describe_run(config: ConfigDict, data: Dataset, plan: Plan) -> dict[str, Any]:
    """What is known before the first step: what was asked for, where it runs, what it will cost."""
    return {
        "study": config.study,
        "arm": config.arm or config.method.name,
        "config": config.to_dict(),
        "seed": config.seed,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git": git_revision(),
        "versions": versions(),
        "machine": machine(),
        "dataset": data.name,
        "dataset_sha256": data.sha256,
        "class_names": list(data.class_names),
        "total_steps": plan.total_steps,
        "batch_size": plan.batch_size,
        "durations": plan.durations,
        "expected": plan.expected,
    }


def cost_of(
    plan: Plan, state: TrainState, curve: Sequence[Mapping[str, Any]], batch: int
) -> dict[str, float]:
    """What the run cost, measured: the network as it ended, and training as the masks went.

    Args:
      plan: The plan.
      state: The last state.
      curve: Its points: step, and mean density since the last point of each layer.
      batch: Images a step.
    """
    cost = network_cost(state.params, state.masks, plan.macs)
    sizes = {leaf.path: int(np.prod(leaf.shape)) for leaf in summary.layers(state.masks)}
    weights = sum(sizes.values())
    looks = np.asarray(jax.vmap(plan.method.dense_gradient)(jnp.arange(plan.total_steps)))
    spent, alive, previous = 0.0, 0.0, 0
    for point in curve:
        steps, layers = point["step"] - previous, point["layers"]
        means = {path: layers[path]["mean_density"] for path in sizes}
        used = means if plan.method.gates.masked else dict.fromkeys(means, 1.0)
        macs = plan.macs.per_weight
        living = plan.macs.others + sum(used[p] * sizes[p] * macs.get(p, 0) for p in sizes)
        dense = float(looks[previous : point["step"]].mean(dtype=np.float64))
        spent += steps * (2 * living + dense * cost.inference_macs_dense + (1 - dense) * living)
        alive += steps * sum(means[p] * sizes[p] for p in sizes) / weights
        previous = point["step"]
    return {
        **cost._asdict(),
        "train_flops": 2 * plan.method.passes * spent * batch,
        "train_flops_dense": 6 * previous * cost.inference_macs_dense * batch,
        "mean_training_density": alive / previous,
    }


def layers_of(masks: Any) -> list[dict[str, Any]]:
    """The record's `layers`."""
    return [leaf._asdict() | {"shape": list(leaf.shape)} for leaf in summary.layers(masks)]


def receptive_field(plan: Plan, state: TrainState, path: pathlib.Path, most: int = 16) -> None:
    """Writes the picture data of a fully connected first layer: who sees which pixel.

    `live` (height, width) float32 are living weights a pixel; `filters` (units, height, width)
    float32 the incoming weights of the units that have most. Nothing is written for other first
    layers.
    """
    first = summary.layers(state.masks)[:1]
    if not first or first[0].shape[0] != int(np.prod(plan.image_shape)) or len(first[0].shape) != 2:
        return
    tree = {"masks": state.masks, "params": state.params}
    for part in first[0].path.split("/"):
        tree = {name: branch[part] for name, branch in tree.items()}
    mask = np.asarray(tree["masks"])
    weights = np.where(mask, np.asarray(tree["params"], np.float32), 0)
    height, width, channels = plan.image_shape
    live = mask.sum(1).reshape(height, width, channels).sum(2)
    busiest = np.argsort(-mask.sum(0), kind="stable")[:most]
    filters = weights[:, busiest].T.reshape(-1, height, width, channels).sum(3)
    np.savez_compressed(path, live=live.astype(np.float32), filters=filters.astype(np.float32))


def git_revision() -> str | None:
    """Revision of the checkout that the package runs from, `+` if it was changed; None outside."""
    here = pathlib.Path(gpnas.__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        watched = (":/gpnas", ":/configs", ":/experiments")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *watched)
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    return {
        "python": platform.python_version(),
        "gpnas": gpnas.__version__,
        **{name: metadata.version(name) for name in _PACKAGES},
    }


def machine() -> dict[str, Any]:
    """The machine: processor, cores, JAX's devices."""
    devices = jax.devices()
    return {
        "platform": platform.platform(terse=True),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "backend": jax.default_backend(),
        "device": devices[0].device_kind,
        "devices": len(devices),
    }


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
