"""The record of a run: a JSON object with its config, provenance and results."""

import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from gpnas._files import sealed, write_bytes, write_json
from gpnas.data import Dataset
from gpnas.errors import UserError
from gpnas.masks import AxesTable, masked_leaves, summary
from gpnas.provenance import provenance
from gpnas.train import _analysis, _elastic
from gpnas.train._axes import table_of
from gpnas.train._evaluate import Evaluated
from gpnas.train._goodput import goodput
from gpnas.train._in_blocks import in_blocks
from gpnas.train._plan import Plan
from gpnas.train._program import Program
from gpnas.train._rebuild import check_rebuilt, find_rebuild
from gpnas.train._run import Replica, RunContext, check_finite
from gpnas.train._state import TrainState, state_digest
from gpnas.train._workdir import keep_written
from gpnas.units import network_cost

_FILTERS = 16  # largest number of units in receptive.npz
_PAIRS = 10  # largest number of pairs of class and prediction in mistakes.npz
_EXAMPLES = 6  # largest number of images per pair
_IMAGE_SIDE = 64  # pixels; side of the images in mistakes.npz


def describe_run(config: ConfigDict, data: Dataset, plan: Plan) -> dict[str, Any]:
    """Returns the fields of the record that are known before the first step."""
    return {
        "study": config.study,
        "arm": config.arm or config.method.name,
        "config": config.to_dict(),
        "seed": config.seed,
        **provenance(),
        "dataset": data.name,
        "dataset_sha256": data.sha256,
        "task": {
            "name": config.task.name,
            "metric": {f: getattr(plan.task.metric, f) for f in ("name", "unit", "better")},
        },
        "kinds": {"inputs": data.fields.inputs, "targets": data.fields.targets},
        "class_names": list(data.class_names),
        "total_steps": plan.total_steps,
        "batch_size": plan.batch_size,
        "durations": plan.durations,
        "expected": plan.expected,
    }


def run_costs(
    plan: Plan, state: TrainState, curve: Sequence[Mapping[str, Any]], batch: int
) -> dict[str, float]:
    """Computes the costs of the final network, and of training with the actual densities.

    Args:
      plan: The plan.
      state: The last state.
      curve: Points of training: step, and each layer's mean density since the previous point.
      batch: Examples per step.
    """
    cost = network_cost(state.params, state.masks, plan.macs)
    sizes = {path: mask.size for path, mask in masked_leaves(state.masks).items()}
    weights = sum(sizes.values())
    dense_steps = in_blocks(jax.vmap(plan.method.forecast.dense_gradient), plan.total_steps)
    macs_spent, active_weight_steps, previous = 0.0, 0.0, 0
    for point in curve:
        steps, layers = point["step"] - previous, point["layers"]
        means = {path: layers[path]["mean_density"] for path in sizes}
        used = means if plan.method.gates.masked else dict.fromkeys(means, 1.0)
        macs = plan.macs.per_weight
        active = plan.macs.others + sum(used[p] * sizes[p] * macs.get(p, 0) for p in sizes)
        parts = dense_steps(previous, point["step"])
        dense = sum(float(part.sum(dtype=np.float64)) for _, part in parts) / steps
        macs_spent += steps * (
            2 * active + dense * cost.inference_macs_dense + (1 - dense) * active
        )
        active_weight_steps += steps * sum(means[p] * sizes[p] for p in sizes) / weights
        previous = point["step"]
    return {
        **cost._asdict(),
        "train_flops": 2 * plan.method.forecast.relative_step_cost * macs_spent * batch,
        "train_flops_dense": 6 * previous * cost.inference_macs_dense * batch,
        "mean_training_density": active_weight_steps / previous,
    }


def layer_records(masks: Any, axes: AxesTable) -> list[dict[str, Any]]:
    """Returns the record's `layers`; `axes` by path glob."""
    return [leaf._asdict() | {"shape": list(leaf.shape)} for leaf in summary.layers(masks, axes)]


def receptive_field(plan: Plan, state: TrainState, path: pathlib.Path) -> None:
    """Writes the receptive fields of a fully connected first layer.

    `live` (height, width) float32 is the number of active weights per pixel; `filters` (units,
    height, width) float32 are the incoming weights of the units with the most active weights.
    Nothing is written for other first layers.
    """
    masks, pixels = masked_leaves(state.masks), int(np.prod(plan.inputs.shape))
    first = next(iter(masks), None)
    if first is None or len(plan.inputs.shape) != 3:
        return
    if masks[first].ndim != 2 or masks[first].shape[0] != pixels:
        return
    mask = np.asarray(masks[first])
    params = np.asarray(masked_leaves(state.masks, state.params)[first], np.float32)
    weights = np.where(mask, params, 0)
    height, width, channels = plan.inputs.shape
    live = mask.sum(1).reshape(height, width, channels).sum(2)
    busiest = np.argsort(-mask.sum(0), kind="stable")[:_FILTERS]
    filters = weights[:, busiest].T.reshape(-1, height, width, channels).sum(3)
    content = io.BytesIO()
    np.savez_compressed(content, live=live.astype(np.float32), filters=filters.astype(np.float32))
    write_bytes(path, content.getvalue())


def write_mistakes(data: Dataset, predicted: np.ndarray, path: pathlib.Path) -> None:
    """Writes the test images of the most confused classes.

    `images` uint8 (n, height, width, channels), large ones subsampled; `classes` and `predicted`
    int32 (n,). Nothing is written if there are no mistakes, or if data are not images with one or
    three channels.

    Args:
      data: The data set with the test images.
      predicted: (examples,) predicted class of each test image.
      path: Path of the file.
    """
    if data.fields.inputs != "image" or data.input_shape[2] not in (1, 3):
        return
    classes = np.asarray(data.test.targets)
    wrong = np.flatnonzero(classes != predicted)
    if not wrong.size:
        return
    both = np.stack([classes[wrong], predicted[wrong]], axis=1)
    found, of_pair, counts = np.unique(both, axis=0, return_inverse=True, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:_PAIRS]
    chosen = np.concatenate([wrong[of_pair == pair][:_EXAMPLES] for pair in most])
    step = -(-max(data.input_shape[:2]) // _IMAGE_SIDE)
    content = io.BytesIO()
    np.savez_compressed(
        content,
        images=np.asarray(data.test.inputs)[chosen, ::step, ::step],
        classes=classes[chosen].astype(np.int32),
        predicted=predicted[chosen].astype(np.int32),
    )
    write_bytes(path, content.getvalue())


def finish(
    run: RunContext,
    program: Program,
    states: list[TrainState],
    replicas: Sequence[Replica],
    known: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Evaluates all seeds once on the test set and writes their records.

    Args:
      run: The run of all seeds.
      program: Programs for the final array shapes.
      states: The final state of each seed.
      replicas: Progress of each seed.
      known: Fields known before the first step, see `describe_run`, of each seed.

    Returns:
      The records.
    """
    networks = program.networks(states)
    # Calls of the program that evaluated the validation images, instead of another program.
    last = program.predict_all(networks, run.data.test)
    selected = last
    if program.on_eval or any(r.selected.step < r.counters.step for r in replicas):
        best = [replica.selected.variables for replica in replicas]
        selected = program.predict_all(best, run.data.test)
    pairs = zip(last, selected, strict=True)
    seeds = zip(states, networks, pairs, replicas, known, strict=True)
    return [_finish(run, i, program.executables(), *seed) for i, seed in enumerate(seeds)]


def _finish(
    run: RunContext,
    number: int,
    executables: int,
    state: TrainState,
    network: Any,
    evaluated: tuple[Evaluated, Evaluated],
    replica: Replica,
    known: Mapping[str, Any],
) -> dict[str, Any]:
    plan, data, workdir = run.plan, run.data, run.folders[number]
    tested, predicted = _test(plan, *evaluated)
    name = plan.task.metric.name
    lines = keep_written(workdir / "metrics.jsonl", replica.written)
    curve = [line for line in lines if line["split"] == "train"]
    evaluations = [line for line in lines if line["split"] == "validation"]
    shown = ("step", "density", "grown", "pruned", "skipped", "layers", "units")
    layers = layer_records(state.masks, table_of(run.configs[number].model.get("axes", {})))
    warn_of_empty(layers, curve)
    result = dict(known) | {
        "metrics": {
            **tested,
            f"val_{name}_last": evaluations[-1][name],
            f"val_{name}_selected": float(f"{float(replica.selected.value):.7g}"),
            "selected_step": int(replica.selected.step),
        },
        "cost": run_costs(plan, state, curve, plan.batch_size),
        "analysis": _analysis.analyse(
            run.configs[number].analysis, plan, network, state.masks, data
        ),
        **({} if predicted is None else {"confusion": _confusion(data, predicted)}),
        "layers": layers,
        "evaluations": [
            {field: line[field] for field in ("step", "loss", name)} for line in evaluations
        ],
        "curve": [{field: line[field] for field in shown if field in line} for line in curve],
        "state_sha256": state_digest(state),
        "compilations": executables,
        "wall_s": lines[-1]["wall_s"],
        "seconds": goodput(lines, replica.pending),
    }
    if replica.counters.step < plan.total_steps:
        result |= {"stopped_step": replica.counters.step}
    architecture = _architecture(run, number, state)
    if architecture is not None:
        write_json(workdir / "architecture.json", architecture)
        result |= {"architecture": architecture}
    receptive_field(plan, state, workdir / "receptive.npz")
    if predicted is not None:
        write_mistakes(data, predicted, workdir / "mistakes.npz")
    result = sealed(result)
    write_json(workdir / "record.json", result)
    return result


def warn_of_empty(layers: Sequence[Mapping[str, Any]], curve: Sequence[Mapping[str, Any]]) -> None:
    """Warns of layers without active weights, unless units were pruned: blocks may be removed."""
    empty = [layer["path"] for layer in layers if not layer["nonzeros"]]
    if empty and "units" not in curve[-1]:
        logging.warning("no active weights in %s", ", ".join(empty))


def _test(
    plan: Plan, last: Evaluated, selected: Evaluated
) -> tuple[dict[str, float], np.ndarray | None]:
    """Returns the metric on the test split, of the last and of the selected network.

    For classification, also the class that the last network predicts for each example.
    """
    (metrics, classes), metric, name = last, plan.task.metric, plan.task.metric.name
    found = {"last": metric.reported(metrics[name]), "selected": metric.reported(selected[0][name])}
    checked = {f"{name} ({which})": value for which, value in found.items()}
    check_finite("test", checked, plan.total_steps)
    tested = {f"test_{name}_{which}": value for which, value in found.items()}
    return tested, None if classes is None else np.asarray(classes)


def _confusion(data: Dataset, predicted: np.ndarray) -> list[list[int]]:
    """Returns the number of test examples by class (rows) and predicted class."""
    counts = np.zeros((data.num_classes, data.num_classes), int)
    np.add.at(counts, (np.asarray(data.test.targets), predicted), 1)
    return counts.tolist()


def _architecture(run: RunContext, number: int, state: TrainState) -> dict[str, Any] | None:
    """Returns the final architecture if units are developed; None if no fields describe it."""
    plan = run.plan
    if plan.method.hooks.capacity is None:
        return None
    config = run.configs[number]
    try:
        rebuild = find_rebuild(config, run.data, plan)
        if not config.elastic:  # elastic runs check this before they start
            check_rebuilt(config, run.data, plan, rebuild)
    except UserError as error:
        logging.info("no architecture.json: %s", error.allowed)
        return None
    variables = {"params": state.params, **state.model_state}
    return _elastic.active_network(plan, rebuild, variables, state.mask_state.units)[0]
