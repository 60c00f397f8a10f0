"""int8 and int4 weights of smaller networks by qwix: size of the file and test error."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import gpnas
from experiments.benchmarks.measure import require
from experiments.studies.study import Options, Section, Study, records
from gpnas import data, models, train
from gpnas.provenance import provenance
from gpnas.records import append_line, records_path
from gpnas.report import Cell, Column, Table

_KINDS = ("float32", "int8", "int4")


def _config() -> ConfigDict:
    config = ConfigDict()
    config.study = "quant"
    config.data = "digits"
    config.seeds = 5
    config.slim = {"target": 0.25, "epochs": 15, "learning_rate": 0.05}
    return config


def _run(config: ConfigDict, options: Options) -> None:
    path = records_path(options.results, config.study)
    path.parent.mkdir(parents=True, exist_ok=True)
    done = {record["seed"] for record in records(options.results, config)}
    for seed in sorted(set(range(config.seeds)) - done):
        append_line(path, measure(config, seed) | provenance())


def measure(config: ConfigDict, seed: int) -> dict[str, Any]:
    """Trains a network, slims it, and quantizes the result.

    Args:
      config: `data`, and `slim`, the arguments of `gpnas.slim`.
      seed: Seed of the initial weights and of the order of examples.

    Raises:
      Missing: Without qwix.
    """
    require("quant", "qwix", "safetensors")
    import qwix
    from safetensors.numpy import save

    found = data.load(config.data)
    task = train.classification(models.linen(models.ConvNet(num_classes=found.num_classes)))
    images = data.standardize(found.test.inputs, found)
    whole = jax.jit(task.init)(jax.random.key(seed), images[:1])
    small = gpnas.slim(task, whole, found, seed=seed, **config.slim.to_dict()).network
    module = models.from_architecture(small.architecture)
    variables = jax.tree.map(jnp.asarray, small.variables)

    def quantized(dense: Any) -> tuple[Any, Any]:
        rules = [  # qwix's convolutions use one type for weights and activations
            qwix.QuantizationRule(
                op_names=("dot_general",), weight_qtype=dense, act_qtype=jnp.int8
            ),
            qwix.QuantizationRule(weight_qtype=jnp.int8, act_qtype=jnp.int8),
        ]
        network = qwix.quantize_model(module, qwix.PtqProvider(rules))
        like = jax.eval_shape(network.init, jax.random.key(0), images[:1])["params"]
        return network, {**variables, "params": qwix.quantize_params(variables["params"], like)}

    def result(network: Any, variables: Any) -> dict[str, float]:
        leaves = jax.tree_util.tree_flatten_with_path(variables)[0]
        arrays = {
            jax.tree_util.keystr(path, simple=True, separator="/"): bytes_of(np.asarray(leaf))
            for path, leaf in leaves
        }
        wrong = jax.jit(network.apply)(variables, images).argmax(-1) != found.test.targets
        return {"bytes": len(save(arrays)), "test_error": 100 * float(wrong.mean())}

    return {
        "study": config.study,
        "config": config.to_dict(),
        "seed": seed,
        "qwix": qwix.__version__,
        "params": small.params,
        "float32": result(module, variables),
        "int8": result(*quantized(jnp.int8)),
        "int4": result(*quantized(jnp.int4)),
    }


def bytes_of(array: np.ndarray) -> np.ndarray:
    """Packs an array as in a file: two int4 numbers per byte."""
    if array.dtype != jnp.int4:
        return array
    low, high = np.pad(array.astype(np.uint8).ravel() & 15, (0, array.size % 2)).reshape(-1, 2).T
    return low | high << 4


def table(found: Sequence[Mapping[str, Any]]) -> Table:
    """One row per seed."""
    columns = [Column(title) for title in (
        "seed", "parameters", *(f"{kind}, kB" for kind in _KINDS),
        *(f"{kind}, error %" for kind in _KINDS),
    )]  # fmt: skip
    rows = [
        [
            Cell(str(r["seed"])),
            Cell(f"{r['params']:,}"),
            *(Cell(f"{r[kind]['bytes'] / 1000:.1f}") for kind in _KINDS),
            *(Cell(f"{r[kind]['test_error']:.2f}") for kind in _KINDS),
        ]
        for r in {r["seed"]: r for r in found}.values()
    ]
    note = (
        "ConvNet at a quarter of its MACs (gpnas.slim); safetensors files; error on the test"
        " digits. int4: of fully connected layers; convolutions are int8. Activations are int8,"
        " quantized at run time."
    )
    return Table("int8 and int4 weights by qwix, digits", columns, rows, [note])


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    return {"quant": Section([table(records(results, config))])}


STUDY = Study(_config, _run, _sections, "deploy.md")
