"""Loads exported files as functions of NumPy arrays.

The content of a file is compared with the digest beside it, if there is one (see `_describe`).
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from gpnas._files import PathLike
from gpnas.deploy._describe import check_digest
from gpnas.deploy._formats import Apply, require_packages
from gpnas.deploy._saved import load_network
from gpnas.errors import UserError, explained

Run = Callable[[np.ndarray], np.ndarray]
Loaded = tuple[Run, Mapping[str, str]]


def load_exported(path: PathLike, threads: int = 1) -> Run:
    """Loads an exported file as a function; the suffix determines the runtime.

    Args:
      path: An exported file; for safetensors, either of its two files.
      threads: Threads of the runtime. JAX uses the number with which the process started.

    Returns:
      `images → logits`: (batch, height, width, channels) float32 → (batch, classes) float32.

    Raises:
      UserError: For an unknown format, a damaged or changed file, or a missing package.
    """
    return load_described(path, threads)[0]


def load_described(path: PathLike, threads: int = 1) -> tuple[Run, Mapping[str, str]]:
    """Loads an exported file as a function, and its metadata; `{}` for formats without metadata.

    Arguments and errors are those of `load_exported`.
    """
    path = pathlib.Path(path)
    path = path.with_suffix(".json") if path.suffix == ".safetensors" else path
    if path.suffix not in RUNTIMES:
        raise UserError("file", str(path), f"a file ending in {', '.join(RUNTIMES)}")
    runtime = RUNTIMES[path.suffix]
    with explained("file", str(path), "a file that can be read", OSError):
        content = path.read_bytes()
    require_packages("file", str(path), runtime.extra, [runtime.package])
    check_digest(path, content)
    # Runtimes raise their own exceptions.
    with explained("file", str(path), f"a file that {runtime.package} reads", Exception):
        loaded = runtime.load(path, content, threads)
    return loaded


def _stablehlo(path: pathlib.Path, content: bytes, threads: int) -> Loaded:
    del path, threads
    exported = export.deserialize(bytearray(content))
    call = jax.jit(exported.call)
    (image,) = exported.in_avals
    call.lower(jax.ShapeDtypeStruct((1, *image.shape[1:]), image.dtype))  # detects damage now
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
    # Idle threads must not occupy a core while other files are measured.
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
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    batch = int(source["shape"][0])

    def once(images: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    def run(images: np.ndarray) -> np.ndarray:
        padded = np.pad(images, [(0, -len(images) % batch), *[(0, 0)] * (images.ndim - 1)])
        parts = [once(padded[i : i + batch]) for i in range(0, len(padded), batch)]
        return np.concatenate(parts)[: len(images)]

    return run, {}


class Runtime(NamedTuple):
    """The runtime of a format.

    Attributes:
      load: `(path, content, threads) → (function, metadata)`.
      package: Required package.
      extra: The extra of gpnas that installs it.
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


def max_difference(run: Run, apply: Apply, variables: object, images: np.ndarray) -> float:
    """Returns the largest absolute difference of logits between a runtime and JAX.

    Args:
      run: A function from `load_exported`.
      apply: The exported network.
      variables: Its variables.
      images: (batch, height, width, channels) float32.
    """
    expected = np.asarray(jax.jit(apply)(variables, jnp.asarray(images)))
    return float(np.abs(run(images) - expected).max())


def mean_over_examples(
    run: Run,
    per_example: Callable[[np.ndarray, np.ndarray], Any],
    images: np.ndarray,
    targets: np.ndarray,
    batch: int = 500,
) -> float:
    """Averages a function of a runtime's outputs and targets over examples.

    Args:
      run: A function from `load_exported`.
      per_example: `(outputs, targets) → values`, (batch,).
      images: (n, height, width, channels) pixels, converted to float32 batch by batch.
      targets: (n, …).
      batch: Images per call.
    """
    total = 0.0
    for start in range(0, len(targets), batch):
        part = slice(start, start + batch)
        outputs = run(np.asarray(images[part], np.float32))
        total += float(np.asarray(per_example(outputs, targets[part]), np.float64).sum())
    return total / len(targets)
