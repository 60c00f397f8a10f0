"""Measures latency of compacted networks and sparse matrices: one record per network or layer."""

import pathlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gpnas import models, units
from gpnas.deploy import (
    Network,
    compact_network,
    dense_network,
    inference,
    measure_latency,
    require_formats,
    run_in_process,
    speedup,
    to_onnx,
    to_stablehlo,
)
from gpnas.provenance import provenance
from gpnas.records import append_line, read_lines, records_path

# Runtime: name of its files. XLA's convolution is slow for few channels on a CPU.
FILES: Mapping[str, str] = {
    "onnxruntime": "onnx",
    "JAX": "stablehlo",
    "JAX, im2col": "im2col.stablehlo",
}
_SAME = {"units": ("seed", "batches", "threads", "seconds"), "sparse": ("seed",)}


def measure(config: ConfigDict, results: pathlib.Path) -> pathlib.Path:
    """Makes the missing records of the study; returns the path of its records.

    Args:
      config: Config from config.py of the study.
      results: Records are appended to results/STUDY/records.jsonl.

    Raises:
      UserError: If onnxruntime or the ONNX exporter is missing.
    """
    require_formats(["onnx"])
    path = records_path(results, config.study)
    done = {_key(record) for record in read_lines(path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    for part, arm, share in _parts(config):
        about = {
            "study": config.study,
            "part": part,
            "arm": arm,
            "share": share,
            "settings": {name: _plain(config[name]) for name in _SAME[part]},
        }
        if _key(about) in done:
            continue
        begun = time.perf_counter()
        found = _units(config, arm, share) if part == "units" else _sparse(config, arm)
        append_line(
            path, about | found | {"wall_s": round(time.perf_counter() - begun, 1), **provenance()}
        )
        print(f"{part}: {arm} {share or ''}", flush=True)
    return path


def _parts(config: ConfigDict) -> Iterator[tuple[str, str, float]]:
    for arm in config.networks:
        for share in config.shares:
            yield "units", arm, share
    for arm in config.sparse.layers:
        yield "sparse", arm, 0.0


def _key(record: Mapping[str, Any]) -> str:
    fields = ("part", "arm", "share", "settings")
    return repr([record[field] for field in fields])


def _plain(value: Any) -> Any:
    """Returns a setting as read back from JSON."""
    if isinstance(value, ConfigDict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


def _units(config: ConfigDict, arm: str, share: float) -> dict[str, Any]:
    """Measures a network with a fraction of its units removed, and the whole one."""
    known = config.networks[arm].to_dict()
    shape = known["image_shape"]
    module = models.from_architecture(known)
    images = jax.random.normal(jax.random.key(config.seed), (4, *shape))
    variables = models.call.init(module, jax.random.key(config.seed), images)
    masks = _random_masks(module, variables, images, share, config.seed)
    networks = {
        "dense": dense_network(models.linen(module), variables, shape),
        "compact": compact_network(models.linen(module), variables, shape, masks),
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = _files(networks, known["runtimes"], shape, pathlib.Path(folder))
        timed = {
            threads: measure_latency(paths, shape, config.batches, threads, config.seconds)
            for threads in config.threads
        }
        sizes = {name: (pathlib.Path(folder) / f"{name}.onnx").stat().st_size for name in networks}
    rows = []
    for threads, found in timed.items():
        for batch, taken in found.items():
            for runtime in known["runtimes"]:
                slow, fast = (f"{name}, {runtime}" for name in networks)
                best = {name: 1000 * min(taken[f"{name}, {runtime}"]) for name in networks}
                row = {"runtime": runtime, "batch": batch, "threads": threads, "ms": best}
                rows.append(row | speedup(taken, slow, fast) | {"calls": len(taken[slow])})
    return {
        "macs": {name: one.macs(shape) for name, one in networks.items()},
        "params": {name: one.params for name, one in networks.items()},
        "onnx_bytes": sizes,
        "architecture": networks["compact"].architecture,
        "rows": rows,
    }


def _random_masks(
    module: Any, variables: Any, images: jax.Array, share: float, seed: int
) -> dict[str, np.ndarray]:
    groups = units.discover(inference(module), variables, images)
    rng = np.random.default_rng(seed)
    return {
        group.name: rng.permutation(group.size) >= round(share * group.size)
        for group in groups.groups
    }


def _files(
    networks: Mapping[str, Network],
    runtimes: Sequence[str],
    shape: tuple[int, ...],
    folder: pathlib.Path,
) -> dict[str, pathlib.Path]:
    """Exports both networks for each runtime: `{"dense, JAX": path}`."""
    paths = {}
    for name, one in networks.items():
        assert one.architecture is not None
        for runtime in runtimes:
            ending = FILES[runtime]
            path = paths[f"{name}, {runtime}"] = folder / f"{name}.{ending}"
            kind = "im2col" if "im2col" in ending else "xla"
            module = models.from_architecture(one.architecture, dtype=jnp.float32, conv=kind)
            write = to_onnx if ending == "onnx" else to_stablehlo
            write(inference(module), one.variables, shape, path)
    return paths


def _sparse(config: ConfigDict, arm: str) -> dict[str, Any]:
    """Measures layers with random zeros as dense and as sparse matrices, with one thread."""
    request = {
        "shapes": _plain(config.sparse.layers[arm]),
        "densities": list(config.sparse.densities),
        "batches": list(config.sparse.batches),
        "rounds": config.sparse.rounds,
        "seed": config.seed,
    }
    return {"threads": 1, "rows": run_in_process("experiments.studies.deploy.sparse", 1, request)}
