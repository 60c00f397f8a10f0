"""Latency of exported files, measured in a process per number of threads, as JAX requires.

python -m gpnas.deploy._latency < request.json
"""

import functools
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import gpnas
from gpnas._files import PathLike
from gpnas.deploy._runtimes import load_exported
from gpnas.timing import Seconds, interleave

_CALLS = (10, 1000)


def run_in_process(module: str, threads: int, request: Mapping[str, Any]) -> Any:
    """Runs `python -m module` with a number of threads; JSON in, JSON out.

    Args:
      module: Name of a module that calls `serve`.
      threads: Number of threads.
      request: JSON data.

    Raises:
      RuntimeError: If it fails.
    """
    root = str(pathlib.Path(gpnas.__file__).parents[1])
    variables = dict.fromkeys(("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps(dict(request) | {"threads": threads}),
        env=os.environ | variables | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout)


def measure_latency(
    paths: Mapping[str, PathLike],
    image_shape: Sequence[int],
    batches: Sequence[int],
    threads: int,
    seconds: float,
) -> dict[int, Seconds]:
    """Measures the seconds of each call of several files, called in turn.

    Args:
      paths: Files by name.
      image_shape: (height, width, channels).
      batches: Batch sizes.
      threads: Threads of the runtimes.
      seconds: Duration per batch size: 10 to 1,000 calls of each file.

    Returns:
      `{batch: {name: [seconds]}}`.
    """
    request = {
        "paths": {name: os.fspath(path) for name, path in paths.items()},
        "shape": list(image_shape),
        "batches": list(batches),
        "seconds": seconds,
    }
    found = run_in_process("gpnas.deploy._latency", threads, request)
    return {int(batch): taken for batch, taken in found.items()}


def speedup(taken: Seconds, slow: str, fast: str) -> dict[str, float]:
    """Computes how many times faster one of two functions is.

    Args:
      taken: Seconds of each call, by name.
      slow, fast: Names of the two functions.

    Returns:
      `best`: ratio of the shortest times, which is robust to other load on the machine; `paired`:
      median ratio of consecutive calls.
    """
    a, b = np.asarray(taken[slow]), np.asarray(taken[fast])
    return {"best": float(np.min(a) / np.min(b)), "paired": float(np.median(a / b))}


def serve(answer: Callable[[dict[str, Any]], Any]) -> None:
    """Reads a request from stdin and writes the answer to stdout; other output goes to stderr.

    Args:
      answer: `request → answer`, both JSON data.
    """
    out = os.dup(1)
    os.dup2(2, 1)
    found = answer(json.load(sys.stdin))
    with os.fdopen(out, "w") as file:
        json.dump(found, file)


def _answer(request: dict[str, Any]) -> dict[int, Seconds]:
    runs = {
        name: load_exported(path, request["threads"]) for name, path in request["paths"].items()
    }
    found = {}
    for batch in request["batches"]:
        size = (batch, *request["shape"])
        images = np.random.default_rng(0).uniform(0, 255, size).astype(np.float32)
        calls = {name: functools.partial(run, images) for name, run in runs.items()}
        once = sum(times[0] for times in interleave(calls, 1).values())
        found[batch] = interleave(calls, int(np.clip(request["seconds"] / once, *_CALLS)))
    return found


if __name__ == "__main__":
    serve(_answer)
