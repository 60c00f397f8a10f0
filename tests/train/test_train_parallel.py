"""One, two, four and eight devices do the same, under `jit` and under `pmap`, in each loop."""

import json

import numpy as np
import pytest

from tests.cases import some

pytestmark = pytest.mark.slow

RUN = """
import json, pathlib, sys
import jax, numpy as np
from ml_collections import ConfigDict
from gpnas import data
from gpnas.train import Stopped, _checkpoint, train

config, folder = ConfigDict(json.loads(sys.argv[1])), pathlib.Path(sys.argv[2])
digits, found, save, config.resume = data.load("digits"), {}, _checkpoint.save, True
if "curve" in config.method:  # JSON has no tuples
    config.method.curve = tuple(map(tuple, config.method.curve))

def watched(place, step, tree, *rest):
    save(place, step, tree, *rest)
    masks.append([np.flatnonzero(x).tolist() for x in jax.tree.leaves(tree[0][0].masks)])
    if cut:  # after the first epoch
        raise Stopped

_checkpoint.save = watched
for run in sys.argv[3:]:
    kind, name, *cut = run.split(":")
    config.train.parallel, config.train.loop = kind.split("-")
    masks = []
    try:
        record = train(config, folder / name, digits)
    except Stopped:
        continue
    lines = [json.loads(line) for line in open(folder / name / "metrics.jsonl")]
    found[name] = {
        "loss": [line["loss"] for line in lines if line["split"] == "train"],
        "curve": [[p["grown"], p["pruned"], p["density"]] for p in record["curve"]],
        "masks": masks,
        "compilations": record["compilations"],
        "error": record["metrics"]["test_error_last"],
        "devices": record["machine"]["devices"],
    }
print(json.dumps(found))
"""
#: By devices: `parallel-loop:folder`, or `…:cut` for a run that is cut off after the first epoch
#: and goes on where the folder is named again.
RUNS = {
    1: ["jit-scan:1", "jit-scan:1 to 8:cut"],
    8: [
        "jit-scan:8", "jit-steps:8 steps", "pmap-scan:8 pmap", "pmap-steps:8 pmap steps",
        "jit-scan:1 to 8", "jit-scan:8 to 2:cut", "pmap-scan:8 pmap resumed:cut",
        "pmap-scan:8 pmap resumed",
    ],
    2: ["jit-scan:2", "jit-scan:8 to 2"],
    4: ["jit-scan:4"],
}  # fmt: skip


#: The same, of a network whose units compete under a cost budget.
UNIT_RUNS = {1: ["jit-scan:1"], 8: ["jit-scan:8", "pmap-scan:8 pmap"]}


#: As users run it: with XLA's optimizations, which tests otherwise disable.
OPTIMIZED = """
import json, os, sys
os.environ["XLA_FLAGS"] = ""
import jax, numpy as np
from jax.sharding import AxisType, Mesh
from ml_collections import ConfigDict
from gpnas import data
from gpnas.train import _placement, make_plan, make_program
from gpnas.train._shuffle import batch_order

jax.config.update("jax_disable_most_optimizations", False)
config, digits, found = ConfigDict(json.loads(sys.argv[1])), data.load("digits"), {}
plan = make_plan(config, digits)
order = batch_order(len(digits.train), plan.batch_size, config.seed)

def lists(tree):
    return [np.ravel(leaf).tolist() for leaf in jax.tree.leaves(tree)]

for count in (1, 2, 4, 8):
    devices = np.array(jax.devices()[:count])
    _placement.mesh = lambda: Mesh(devices, (_placement.AXIS,), axis_types=(AxisType.Auto,))
    program = make_program(plan, digits)
    placed, found[count] = program.place(program.init([jax.random.key(config.seed)])), []
    for step in range(0, plan.total_steps, 5):
        placed, _ = program.run(placed, order(step, 5)[None], 5, step)
        (state,) = program.fetch(placed)
        on = len(jax.tree.leaves(placed.params)[0].sharding.device_set)
        found[count].append({"on": on, "masks": lists(state.masks), "params": lists(state.params)})
print(json.dumps(found))
"""


def run_all(config, runs, python, folder):
    """Returns what each run did, by folder."""
    (folder / "run.py").write_text(RUN)
    found = {}
    for devices, names in runs.items():
        done = python(folder / "run.py", config.to_json(), folder, *names, devices=devices)
        assert done.returncode == 0, done.stderr
        found |= json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def runs(tiny, python, tmp_path_factory):
    config = tiny(name="granet", density=0.2, every=5)
    config.model.widths = (16,)
    config.data.augment = "pad_crop(1)|flip_lr|cutout(2)|mixup(0.2)"
    config.train.epochs, config.train.log_every = 2, 2
    return run_all(config, RUNS, python, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def unit_runs(tiny, python, tmp_path_factory):
    """Runs in which the cost rises from 0.2 of the whole network's to 0.5, and falls to 0.25."""
    config = tiny(
        name="development_cost", curve=((0.0, 0.2), (0.4, 0.5), (0.8, 0.25)), every=5, window=3
    )
    config.model.name, config.model.widths = "convnet", (8, 8, 8, 16)
    config.train.epochs, config.train.log_every = 2, 2
    return run_all(config, UNIT_RUNS, python, tmp_path_factory.mktemp("units"))


@pytest.mark.parametrize(
    "name",
    ["2", "4", "8", "8 steps", "8 pmap", "8 pmap steps", "8 pmap resumed", "1 to 8", "8 to 2"],
)
def test_as_on_one_device(runs, name):
    one, many = runs["1"], runs[name]
    np.testing.assert_allclose(many["loss"][:10], one["loss"][:10], rtol=1e-3)
    assert many["curve"] == one["curve"]
    assert many["masks"] == one["masks"][-len(many["masks"]) :]
    assert len(many["masks"]) == (1 if "to" in name or "resumed" in name else 2)
    assert many["compilations"] == 1
    assert many["devices"] == int(name.partition(" ")[0] if "to" not in name else name[-1])
    assert abs(many["error"] - one["error"]) < 3


def test_pmap_resumes(runs):
    for field in ("loss", "error"):
        assert runs["8 pmap resumed"][field] == runs["8 pmap"][field]


@pytest.mark.parametrize("name", ["8", "8 pmap"])
def test_units_compete_as_on_one_device(unit_runs, name):
    one, many = unit_runs["1"], unit_runs[name]
    assert any(grown for grown, _, _ in one["curve"]) and any(cut for _, cut, _ in one["curve"])
    assert many["curve"] == one["curve"]
    assert many["masks"] == one["masks"] and len(one["masks"]) == 2
    assert many["devices"] == 8


@pytest.mark.parametrize(
    "method",
    some([{"name": "rigl"}, {"name": "development", "window": 3, "peak": 3.0}], [{"name": "rigl"}]),
    ids=lambda method: method["name"],
)
def test_masks_are_equal_with_the_optimizations_of_users(method, tiny, python):
    """40 steps of which every fifth updates the masks; the state is compared after each of them."""
    config = tiny(density=0.2, every=5, **method)
    config.train.batch_size, config.train.epochs = 256, 8
    done = python("-c", OPTIMIZED, config.to_json(), devices=8)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    one = found["1"]
    assert len({json.dumps(event["masks"]) for event in one}) > 4
    for count, many in found.items():
        for event, expected in zip(many, one, strict=True):
            assert event["on"] == int(count) and event["masks"] == expected["masks"]
            for leaf, like in zip(event["params"], expected["params"], strict=True):
                np.testing.assert_allclose(leaf, like, rtol=1e-5, atol=1e-5)
