"""Runtimes: exported files as functions of NumPy arrays.

A file's content is compared with the digest beside it, where there is one (see `describe`).
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from gpnas.deploy.describe import check
from gpnas.deploy.formats import Apply, require_packages
from gpnas.deploy.saved import load_network
from gpnas.errors import UserError, brief

Run = Callable[[np.ndarray], np.ndarray]
Loaded = tuple[Run, Mapping[str, str]]


def load(path: pathlib.Path, threads: int = 1) -> Run:
    """A file as a function, by its ending.

    Args:
      path: A file that gpnas exported; an architecture's JSON stands for the weights beside it.
      threads: Threads of its runtime. JAX has those that its process began with.

    Returns:
      `images → logits`: (batch, height, width, channels) float32 → (batch, classes) float32.

    Raises:
      UserError: For another kind of file, one that is damaged or has changed, or a runtime that is
        not installed.
    """
    return load_described(path, threads)[0]


def load_described(path: pathlib.Path, threads: int = 1) -> tuple[Run, Mapping[str, str]]:
    """As `load`; also the metadata in the file, empty for formats without."""
    path = path.with_suffix(".json") if path.suffix == ".safetensors" else path
    if path.suffix not in RUNTIMES:
        raise UserError("file", str(path), f"a file ending in {', '.join(RUNTIMES)}")
    runtime = RUNTIMES[path.suffix]
    require_packages("file", str(path), runtime.extra, [runtime.package])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError("file", str(path), f"a file that can be read ({error})") from error
    check(path, content)
    try:
        return runtime.load(path, content, threads)
    except UserError:
        raise
    except Exception as error:  # each runtime has exceptions of its own
        allowed = f"a file that {runtime.package} reads ({brief(error)})"
        raise UserError("file", str(path), allowed) from error


def _stablehlo(path: pathlib.Path, content: bytes, threads: int) -> Loaded:
    del path, threads
    exported = export.deserialize(bytearray(content))
    call = jax.jit(exported.call)
    (image,) = exported.in_avals
    call.lower(jax.ShapeDtypeStruct((1, *image.shape[1:]), image.dtype))  # notices damage now
    return lambda images: np.asarray(call(images)), {}


def _saved(path: pathlib.Path, content: bytes, threads: int) -> Loaded:
    del content, threads
    apply, variables = load_network(path)
    call = jax.jit(apply)
    return lambda images: np.asarray(call(variables, images)), {}


def _onnx(path: pathlib.Path, content: bytes, threads: int) -> Loaded:
    del path
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # A thread that waits must not take a core from what is measured beside it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    metadata = session.get_modelmeta().custom_metadata_map
    return lambda images: session.run(None, {name: images})[0], metadata


def _tflite(path: pathlib.Path, content: bytes, threads: int) -> Loaded:
    del path
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    batch = int(taken["shape"][0])

    def once(images: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(taken["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(given["index"])

    def run(images: np.ndarray) -> np.ndarray:
        padded = np.pad(images, [(0, -len(images) % batch), *[(0, 0)] * (images.ndim - 1)])
        parts = [once(padded[i : i + batch]) for i in range(0, len(padded), batch)]
        return np.concatenate(parts)[: len(images)]

    return run, {}


class Runtime(NamedTuple):
    """What runs a kind of file.

    Attributes:
      load: `(path, content, threads) → (function, metadata)`.
      package: That has to be installed.
      extra: Of gpnas, which brings it.
    """

    load: Callable[[pathlib.Path, bytes, int], Loaded]
    package: str
    extra: str


RUNTIMES: Mapping[str, Runtime] = {
    ".stablehlo": Runtime(_stablehlo, "flatbuffers", "deploy"),
    ".onnx": Runtime(_onnx, "onnxruntime", "deploy"),
    ".tflite": Runtime(_tflite, "ai_edge_litert", "tflite"),
    ".json": Runtime(_saved, "safetensors", "deploy"),
}


def parity(run: Run, apply: Apply, variables: object, images: np.ndarray) -> float:
    """Largest |difference| between a runtime and JAX over all logits.

    Args:
      run: As `load` gives it.
      apply: What was exported.
      variables: Its variables.
      images: (batch, height, width, channels) float32.
    """
    expected = np.asarray(jax.jit(apply)(variables, jnp.asarray(images)))
    return float(np.abs(run(images) - expected).max())


def error_percent(run: Run, images: np.ndarray, labels: np.ndarray, batch: int = 500) -> float:
    """Share of images that get another class than their label, in percent.

    Args:
      run: As `load` gives it.
      images: (n, height, width, channels), pixels; made float32 batch by batch.
      labels: (n,) int.
      batch: Images a call.
    """
    wrong = 0
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        logits = run(np.asarray(images[part], np.float32))
        wrong += int((logits.argmax(-1) != labels[part]).sum())
    return 100 * wrong / len(labels)
