"""Exports a finished run: files of the compact and the dense network."""

import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gpnas._files import PathLike, naming, sync, write_json
from gpnas._jit_once import jit_once
from gpnas.data import Dataset, require_kind, standardize, subset
from gpnas.deploy import _formats as formats
from gpnas.deploy._compact_network import Network, compact_network, dense_network
from gpnas.deploy._describe import description_of, digest, metadata_of, write_side_file
from gpnas.deploy._formats import Apply, require_formats
from gpnas.deploy._latency import measure_latency, speedup
from gpnas.deploy._quantize import quantize
from gpnas.deploy._runtimes import load_exported, max_difference, mean_over_examples
from gpnas.deploy._saved import on_pixels, save_network
from gpnas.errors import UserError, brief, check_choice
from gpnas.models import MODELS, Model
from gpnas.plugins import call_user
from gpnas.provenance import provenance
from gpnas.timing import Seconds
from gpnas.train import Finished, Task, build_model, build_task, load_run

KINDS = {"inputs": ("image",), "targets": ("class",)}  # data sets whose networks can be exported
BATCHES = (1, 64)  # images per call, of which latencies are measured
THREADS = (1, 2)  # of the runtime, likewise
PARTS = ("compact", "dense")  # the network without inactive units; the whole network, masked
_DEFAULT = "stablehlo"  # of any network
TOLERANCE = 1e-4  # of logits between a float32 file and JAX, relative to the largest if above 1
_CALIBRATION = 500  # training images to calibrate int8
_PARITY = 64  # validation images on which runtimes are compared


def export_run(
    workdir: PathLike,
    names: Sequence[str] | None = None,
    network: str = "selected",
    int8: bool = False,
    seconds: float = 1.0,
    opset: int | None = None,
    parts: Sequence[str] = PARTS,
    data: Dataset | None = None,
) -> dict[str, Any]:
    """Writes WORKDIR/export: the compact and dense network in each format, and export.json.

    The run must be on images and classes. The files take pixels from 0 to 255 and contain the run's
    standardization. FILE.json beside each has class names and digest. Nothing is written unless
    everything succeeds.

    Args:
      workdir: Folder of a finished run.
      names: Formats: onnx, stablehlo, tflite, safetensors. By default stablehlo, and safetensors if
        the network is one of `gpnas.models`.
      network: "selected" on the validation images, or "last".
      int8: Whether to write quantized ONNX files, too.
      seconds: Duration of each latency measurement; 0 for none.
      opset: Opset of ONNX files; `OPSET` by default.
      parts: The networks to write: "compact" (without inactive units), "dense" (full shapes).
      data: The run's data set, if already loaded.

    Returns:
      The content of export.json: `class_names`, `networks` (parameters, MACs, architecture) and
      `files` (bytes, SHA-256, largest difference from JAX, the task's metric on the test set as
      `test_NAME`, latency and, where both are written, speed-up over the dense file).

    Raises:
      UserError: If the run or a format cannot be exported.
      OSError: If the disk is full or fails; existing files are unchanged.
      RuntimeError: If a float32 file differs from JAX.
    """
    _check_formats([_DEFAULT] if names is None else names, parts, int8, opset)
    workdir = pathlib.Path(workdir)
    target = _target(workdir)
    run = load_run(workdir, network, data)
    names = _by_default(run) if names is None else names
    require_kind(run.data, **KINDS)
    model, shape = _float32_model(run), run.data.input_shape
    networks = _networks(run, model, names)
    removal, tolerance = _compaction_error(networks, run)
    job = _Job(run, _task_of_outputs(run, model), names, int8, opset or formats.OPSET, tolerance)
    with naming(target), tempfile.TemporaryDirectory(dir=workdir, prefix=".export-") as made:
        folder = pathlib.Path(made) / "export"
        folder.mkdir()
        files = [row for name in parts for row in _write(folder, name, networks[name], job)]
        if seconds:
            files = _with_latency(folder, files, shape, seconds)
        report = _report(job, network, files) | {
            "removal_difference": removal,
            "networks": {name: _about(one, shape) for name, one in networks.items()},
        }
        write_json(folder / "export.json", report)
        _publish(folder, target)
    return report


def _by_default(run: Finished) -> list[str]:
    names = [_DEFAULT, *(["safetensors"] if run.config.model.name in MODELS else [])]
    require_formats(names)
    return names


class _Job(NamedTuple):
    """Common settings of the files of an export.

    Attributes:
      run: The run.
      task: Its task, applied to outputs instead of images.
      names: Formats.
      int8: Whether to write quantized ONNX files, too.
      opset: Opset of ONNX files.
      tolerance: Largest difference of logits between a float32 file and JAX.
    """

    run: Finished
    task: Task
    names: Sequence[str]
    int8: bool
    opset: int
    tolerance: float


def _check_formats(
    names: Sequence[str], parts: Sequence[str], int8: bool, opset: int | None
) -> None:
    if not names:
        raise UserError("formats", "", ", ".join(formats.EXTRAS))
    require_formats(names)
    for part in parts or [""]:
        check_choice("parts", part, PARTS)
    for field, value in (("int8", int8 or None), ("opset", opset)):
        if value is not None and "onnx" not in names:
            raise UserError(field, value, "only with onnx among the formats")
    if opset is not None:
        formats.check_opset(opset)


def _target(workdir: pathlib.Path) -> pathlib.Path:
    """Returns the folder of the files; an existing one must be from an earlier export."""
    target = workdir / "export"
    if target.is_symlink() or (target.exists() and not (target / "export.json").exists()):
        raise UserError("workdir", str(target), "a folder export that an export made, or none")
    return target


def _about(network: Network, shape: Sequence[int]) -> dict[str, Any]:
    known = {"params": network.params, "macs": network.macs(shape)}
    return known | {"architecture": network.architecture}


def _publish(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Moves finished files to the target; export.json, which describes them, comes last."""
    for path in folder.iterdir():
        sync(path)
    if not target.exists():
        folder.rename(target)
        return
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "export.json"):
        path.replace(target / path.name)
    sync(target)


def _compaction_error(networks: Mapping[str, Network], run: Finished) -> tuple[float, float]:
    """Returns the largest difference of logits between the compact and the dense network.

    Returns:
      The difference, and the largest that rounding errors explain: they grow with the logits.

    Raises:
      RuntimeError: If rounding errors do not explain the difference.
    """
    images = standardize(jnp.asarray(subset(run.data.validation, _PARITY).inputs), run.data)
    outputs = [jit_once(one.apply)(one.variables, images) for one in networks.values()]
    apart = float(jnp.abs(outputs[0] - outputs[1]).max())
    tolerance = TOLERANCE * max(1.0, float(jnp.abs(outputs[0]).max()))
    if not apart <= tolerance:  # also if it is NaN
        raise RuntimeError(f"the compact network differs by {apart}")
    return apart, tolerance


def _float32_model(run: Finished) -> Model:
    """Returns the network of a run in float32, with XLA's convolutions."""
    config = ConfigDict(run.config.model.to_dict())
    config.update(conv="xla", dtype="float32")
    return build_model(config, run.data.num_classes)


def _networks(run: Finished, model: Model, names: Sequence[str]) -> dict[str, Network]:
    """Returns the compact and the dense network of a run."""
    made = {"compact": compact_network, "dense": dense_network}
    networks = {k: f(model, run.variables, run.data.input_shape) for k, f in made.items()}
    if "safetensors" in names and networks["dense"].architecture is None:
        raise UserError("formats", "safetensors", formats.SAFETENSORS_NETWORKS)
    return networks


def _task_of_outputs(run: Finished, model: Model) -> Task:
    """Returns the run's task on the identity network: metrics take outputs instead of inputs.

    Raises:
      UserError: If the metric depends on more than outputs and targets.
    """
    identity = Model(
        lambda key, inputs: {"params": {}}, lambda variables, inputs, key: (inputs, {})
    )
    whole, outer = (build_task(run.config.task, one) for one in (model, identity))
    some = subset(run.data.validation, _PARITY)
    images, targets = standardize(jnp.asarray(some.inputs), run.data), jnp.asarray(some.targets)
    name, said = whole.metric.name, ""
    expected = jit_once(whole.metrics)(run.variables, (images, targets))[name]
    try:
        outputs = jit_once(model.infer)(run.variables, images)
        found = jit_once(outer.metrics)(run.variables, (outputs, targets))[name]
        agree = np.allclose(found, expected, atol=TOLERANCE)
    except Exception as error:  # a user's task may raise anything
        agree, said = False, f" ({brief(error)})"
    if not agree:
        allowed = f"a task whose metric is of the network's outputs and the targets{said}"
        raise UserError("task.name", run.config.task.name, allowed)
    return outer


def _write(folder: pathlib.Path, name: str, network: Network, job: _Job) -> list[dict[str, Any]]:
    """Writes the files of a network and evaluates them."""
    data = job.run.data
    about = description_of(data.class_names, data.num_classes, data.input_shape)
    apply = on_pixels(network.apply, data.mean, data.std)
    own = {"onnx": {"opset": job.opset, "metadata": metadata_of(about)}}
    rows = []
    for kind in job.names:
        path = folder / f"{name}.{kind}"
        if kind == "safetensors":
            path = folder / f"{name}.json"
            assert network.architecture is not None
            save_network(path, network.architecture, network.variables, data.mean, data.std, about)
        else:
            write = formats.WRITERS[kind]
            call_user(
                "formats", kind, "a format that can express this network",
                write, apply, network.variables, data.input_shape, path, **own.get(kind, {}),
            )  # fmt: skip
            write_side_file(path, about)
        row = _evaluate(path, name, kind, apply, network.variables, job)
        if not row["max_difference"] <= job.tolerance:  # also if it is NaN
            raise RuntimeError(f"{path.name} differs from JAX by {row['max_difference']}")
        rows.append(row)
    if job.int8:
        path = folder / f"{name}.int8.onnx"
        images = np.asarray(subset(data.train, _CALIBRATION).inputs)
        quantize(folder / f"{name}.onnx", path, images)
        write_side_file(path, about)
        rows.append(_evaluate(path, name, "onnx int8", apply, network.variables, job))
    return rows


def _evaluate(
    path: pathlib.Path, name: str, kind: str, apply: Apply, variables: Any, job: _Job
) -> dict[str, Any]:
    """Evaluates a file: size, difference from JAX on validation images, test metric."""
    call = load_exported(path)
    data, metric = job.run.data, job.task.metric
    images = np.asarray(subset(data.validation, _PARITY).inputs, np.float32)
    parts = [path, path.with_suffix(".safetensors")] if kind == "safetensors" else [path]

    @jax.jit
    def per_example(outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return job.task.metrics(job.run.variables, (outputs, targets))[metric.name]

    mean = mean_over_examples(call, per_example, data.test.inputs, data.test.targets)
    return {
        "file": path.name,
        "network": name,
        "format": kind,
        "bytes": sum(part.stat().st_size for part in parts),
        "sha256": {part.name: digest(part.read_bytes()) for part in parts},
        "max_difference": max_difference(call, apply, variables, images),
        f"test_{metric.name}": metric.reported(mean),
    }


def _with_latency(
    folder: pathlib.Path, files: list[dict[str, Any]], shape: Sequence[int], seconds: float
) -> list[dict[str, Any]]:
    """Adds the shortest time in ms and the speed-up over the dense file of the same format."""
    timed: dict[str, list[dict[str, Any]]] = {row["file"]: [] for row in files}
    for kind in dict.fromkeys(row["format"] for row in files):
        own = {row["network"]: row["file"] for row in files if row["format"] == kind}
        for threads in THREADS:
            paths = {name: folder / file for name, file in own.items()}
            for batch, taken in measure_latency(paths, shape, BATCHES, threads, seconds).items():
                for name, file in own.items():
                    timed[file].append(latency_line(taken, name, "dense", batch, threads))
    return [row | {"latency": timed[row["file"]]} for row in files]


def latency_line(
    taken: Seconds, name: str, reference: str, batch: int, threads: int
) -> dict[str, Any]:
    """Returns a network's shortest time in ms, and its speed-up if the reference was measured."""
    line = {"batch": batch, "threads": threads, "ms": round(1000 * min(taken[name]), 4)}
    if reference in taken:
        line["speedup"] = round(speedup(taken, reference, name)["best"], 3)
    return line


def _report(job: _Job, network: str, files: list[dict[str, Any]]) -> dict[str, Any]:
    run, metric = job.run, job.task.metric
    return {
        "network": network,
        "study": run.record["study"],
        "arm": run.record["arm"],
        "seed": run.record["seed"],
        "dataset": run.record["dataset"],
        "task": {
            "name": run.config.task.name,
            "metric": {field: getattr(metric, field) for field in ("name", "unit", "better")},
        },
        f"test_{metric.name}": run.record["metrics"][f"test_{metric.name}_{network}"],
        "image_shape": list(run.data.input_shape),
        "class_names": list(run.data.class_names),
        "backend": jax.default_backend(),
        **provenance(),
        "files": files,
    }
