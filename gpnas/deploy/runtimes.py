"""Runtimes: exported files as functions of NumPy arrays."""

import pathlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from gpnas.deploy.formats import Apply
from gpnas.deploy.saved import load_network
from gpnas.errors import UserError

Run = Callable[[np.ndarray], np.ndarray]


def load(path: pathlib.Path, threads: int = 1) -> Run:
    """A file as a function, by its ending.

    Args:
      path: A file that gpnas exported; an architecture's JSON stands for the weights beside it.
      threads: Threads of its runtime. JAX has those that its process began with.

    Returns:
      `images → logits`: (batch, height, width, channels) float32 → (batch, classes) float32.

    Raises:
      UserError: For another kind of file.
    """
    if path.suffix not in RUNTIMES:
        raise UserError("path", str(path), f"a file ending in {', '.join(RUNTIMES)}")
    return RUNTIMES[path.suffix](path, threads)


def _stablehlo(path: pathlib.Path, threads: int) -> Run:
    del threads
    call = jax.jit(export.deserialize(bytearray(path.read_bytes())).call)
    return lambda images: np.asarray(call(images))


def _saved(path: pathlib.Path, threads: int) -> Run:
    del threads
    apply, variables = load_network(path)
    call = jax.jit(apply)
    return lambda images: np.asarray(call(variables, images))


def _onnx(path: pathlib.Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # A thread that waits must not take a core from what is measured beside it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def _tflite(path: pathlib.Path, threads: int) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=path.read_bytes(), num_threads=threads)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    batch = int(taken["shape"][0])

    def once(images: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(taken["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(given["index"])

    def run(images: np.ndarray) -> np.ndarray:
        padded = np.concatenate([images, np.zeros_like(images[: -len(images) % batch])])
        parts = [once(padded[i : i + batch]) for i in range(0, len(padded), batch)]
        return np.concatenate(parts)[: len(images)]

    return run


RUNTIMES: Mapping[str, Callable[[pathlib.Path, int], Run]] = {
    ".stablehlo": _stablehlo,
    ".onnx": _onnx,
    ".tflite": _tflite,
    ".json": _saved,
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
