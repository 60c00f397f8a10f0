"""Eight devices do what one does, under `jit` and under `pmap`, in a loop or step by step."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.slow

RUN = """
import json, pathlib, sys
import jax, numpy as np
from ml_collections import ConfigDict
from gpnas import data
from gpnas.train import Stopped, _checkpoint as checkpoint, train

config, folder = ConfigDict(json.loads(sys.argv[1])), pathlib.Path(sys.argv[2])
digits, found = data.load("digits"), {"devices": jax.device_count()}
for name in sys.argv[3:]:
    config.train.parallel, config.train.loop = name.split("-")
    record = train(config, folder / name, digits)
    lines = [json.loads(line) for line in open(folder / name / "metrics.jsonl")]
    found[name] = {
        "loss": [line["loss"] for line in lines if line["split"] == "train"],
        "curve": [[p["grown"], p["pruned"], p["density"]] for p in record["curve"]],
        "compilations": record["compilations"],
        "error": record["metrics"]["test_error_last"],
        "devices": record["machine"]["devices"],
    }
if "pmap-scan" in found:  # cut off after the first epoch, and taken up again
    config.train.parallel, config.train.loop = "pmap", "scan"
    save = checkpoint.save
    def stop(*args):
        save(*args)
        raise Stopped
    checkpoint.save = stop
    try:
        train(config, folder / "resumed", digits)
    except Stopped:
        config.resume = True
    checkpoint.save = save
    record = train(config, folder / "resumed", digits)
    lines = [json.loads(line) for line in open(folder / "resumed" / "metrics.jsonl")]
    found["resumed"] = [line["loss"] for line in lines if line["split"] == "train"]
    found["resumed error"] = record["metrics"]["test_error_last"]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def runs(tiny, python, tmp_path_factory):
    """What a run did, by devices and kind."""
    config = tiny(name="granet", density=0.2, every=5)
    config.model.widths = (16,)
    config.data.augment = "pad_crop(1)|flip_lr|cutout(2)|mixup(0.2)"
    config.train.epochs, config.train.log_every = 2, 2
    folder = tmp_path_factory.mktemp("runs")
    (folder / "run.py").write_text(RUN)
    found = {}
    kinds = {1: ["jit-scan"], 8: ["jit-scan", "jit-steps", "pmap-scan", "pmap-steps"]}
    for devices, names in kinds.items():
        out = folder / str(devices)
        done = python(folder / "run.py", config.to_json(), out, *names, devices=devices)
        assert done.returncode == 0, done.stderr
        found[devices] = json.loads(done.stdout)
        assert found[devices]["devices"] == devices
    return found


@pytest.mark.parametrize("name", ["jit-scan", "jit-steps", "pmap-scan", "pmap-steps"])
def test_as_on_one_device(runs, name):
    one, many = runs[1]["jit-scan"], runs[8][name]
    np.testing.assert_allclose(many["loss"][:10], one["loss"][:10], rtol=1e-3)
    assert many["curve"] == one["curve"]
    assert many["compilations"] == 1
    assert many["devices"] == 8
    assert abs(many["error"] - one["error"]) < 3


def test_pmap_resumes(runs):
    assert runs[8]["resumed"] == runs[8]["pmap-scan"]["loss"]
    assert runs[8]["resumed error"] == runs[8]["pmap-scan"]["error"]
