"""The study of latency does what is missing, and says what it measured."""

import pytest

from experiments.studies.deploy import run as study
from experiments.studies.deploy.config import get_config
from gpnas.records import read_lines

pytest.importorskip("onnxruntime")
pytest.importorskip("jax2onnx")


def test_a_small_one(tmp_path):
    config = get_config()
    config.networks = {"LeNet-5": config.networks["LeNet-5"]}
    config.networks["LeNet-5"].fields.widths = (4, 8, 16)
    config.shares, config.threads, config.batches, config.seconds = (0.5,), (1,), (1, 2), 1e-3
    config.sparse.layers = {"small": ((20, 10),)}
    config.sparse.rounds, config.sparse.densities = 2, (0.5,)
    path = study.measure(config, tmp_path)
    network, layer = read_lines(path)
    assert network["architecture"]["fields"]["widths"] == [2, 4, 8]
    assert network["onnx_bytes"]["compact"] < network["onnx_bytes"]["dense"]
    assert network["params"]["compact"] < network["params"]["dense"] / 2
    asked = {(runtime, batch, 1) for runtime in study.FILES for batch in (1, 2)}
    assert {(r["runtime"], r["batch"], r["threads"]) for r in network["rows"]} == asked
    assert len(layer["rows"]) == 4 and layer["part"] == "sparse"
    study.measure(config, tmp_path)
    assert len(read_lines(path)) == 2  # nothing twice
