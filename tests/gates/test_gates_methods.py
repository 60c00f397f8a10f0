"""Methods with gates in whole runs on the digits."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpnas.errors import UserError
from gpnas.gates import masks_from_gates
from gpnas.masks import MaskContext, init_masks, masked_leaves, summary, update_leaves
from gpnas.methods import METHODS, EvalContext, build
from gpnas.models import LeNet300, linen
from gpnas.train import classification, init_state, make_plan, make_program, train, train_replicas
from tests.cases import some
from tests.times import TIMES

RUNS = {
    "sparse_vd": {"threshold": 0.0, "log_variance": -5.0},
    "l0": {"penalties": (2.0,)},
    "l0_arm": {"penalties": (5.0,)},
    "npn_sparsify": {"penalties": (1.0,), "start_at": 0.25, "stop_at": 0.5},
    "npn_expand": {"penalties": (0.0, 0.1, 0.1), "start_at": 0.25, "stop_at": 0.75},
}
EVERY, PER_EPOCH, STEPS = 5, 20, 80


@pytest.fixture(scope="session")
def configure(tiny):
    """`name → config`."""

    def make(name, seed=0):
        config = tiny(name=name, every=EVERY, **RUNS[name])
        config.seed = seed
        if name == "l0":  # its gates move slowly
            config.optimizer.name, config.optimizer.learning_rate = "adam", 0.1
            config.optimizer.arguments = {}
        return config

    return make


@pytest.fixture(scope="module")
def whole(configure, digits, saved, tmp_path_factory):
    """`name → (record, lines, {step: state})` of a run that nothing cuts off."""
    done = {}

    def get(name):
        if name not in done:
            folder = tmp_path_factory.mktemp(name) / "run"
            record = train(configure(name), folder, digits)
            states = {step: found[0] for step, found in saved[folder].items()}
            done[name] = record, lines(folder), states
        return done[name]

    return get


def lines(folder):
    """What a run logged, without the times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def results(record):
    """What a record says of the run itself."""
    return {
        k: v for k, v in record.items() if k not in (*TIMES, "config", "compilations", "digest")
    }


def looks(rows):
    """`{step: validation loss}`."""
    return {row["step"]: row["loss"] for row in rows if row["split"] == "validation"}


def expands_as_it_should(rows, states, first=3):
    """Replays the decisions on the validation losses; gives the number of units that woke."""
    lowest, awake = np.inf, first
    assert sorted(looks(rows)) == sorted(states) == [20, 40, 60, 80]
    for step, loss in looks(rows).items():
        woke = PER_EPOCH <= step < 60 and loss < lowest
        for gates in states[step].aux.values():
            assert np.flatnonzero(gates == 0).tolist() == [awake] * woke
            assert (gates[awake + woke :] < -4).all()
        lowest, awake = (loss, awake + 1) if woke else (lowest, awake)
        memory = states[step].mask_state[1]
        assert (int(memory["awake"]), float(memory["loss"])) == (awake, np.float32(lowest))
    return awake - first


@pytest.mark.slow
@pytest.mark.parametrize("name", some(RUNS, ["sparse_vd", "npn_expand"]))
def test_the_record_counts_the_masks_and_the_network_is_zero_there(name, whole, configure, digits):
    record, rows, states = whole(name)
    assert record["compilations"] == 1
    state = states[STEPS]
    masks = masked_leaves(state.masks)
    living = {p: int(m.sum()) for p, m in masks.items()}
    assert record["cost"]["nonzeros"] == sum(living.values()) < record["cost"]["weights"]
    assert {layer["path"]: layer["nonzeros"] for layer in record["layers"]} == living
    assert rows[-2]["density"] == sum(living.values()) / record["cost"]["weights"]

    program = make_program(make_plan(configure(name), digits), digits)
    (network,) = program.networks([state])
    for path, kernel in masked_leaves(state.masks, network["params"]).items():
        assert (kernel[~masks[path]] == 0).all() and (kernel[masks[path]] != 0).any()
    error = program.evaluate(network, digits.validation)["error"]
    assert 100 * error == pytest.approx(record["metrics"]["val_error_last"], abs=1e-3)


@pytest.mark.parametrize("name", some(["sparse_vd", "l0", "l0_arm"], ["sparse_vd", "l0"]))
def test_the_density_falls(name, whole):
    record, rows, states = whole(name)
    densities = [1.0, *(point["density"] for point in record["curve"])]
    assert densities[-1] < 0.8
    if name == "sparse_vd":
        assert densities == sorted(densities, reverse=True)
        assert not any(point["grown"] for point in record["curve"])
        assert record["metrics"]["test_error_last"] < 40
    else:  # whole input units go
        for mask in masked_leaves(states[STEPS].masks).values():
            assert (mask.all(1) | ~mask.any(1)).all()


@pytest.mark.slow
def test_what_is_removed_may_return(configure, digits, tmp_path):
    config = configure("sparse_vd")
    config.method.remove = False
    record = train(config, tmp_path, digits)
    assert sum(point["grown"] for point in record["curve"]) > 0
    assert record["cost"]["density"] < 0.8


def test_npn_sparsify_changes_its_gates_between_its_stages_only(whole):
    record, _, states = whole("npn_sparsify")
    for path, gates in states[20].aux.items():
        assert (gates == np.float32(3 / 7)).all()
        assert (states[40].aux[path] != gates).all()
        for step in (60, 80):
            np.testing.assert_array_equal(states[step].aux[path], states[40].aux[path])
    densities = {point["step"]: point["density"] for point in record["curve"]}
    assert densities[20] == 1 > densities[45]
    assert len({densities[step] for step in range(45, 81, 5)}) == 1


def test_npn_expand_wakes_the_next_unit_when_the_loss_falls(whole):
    _, rows, states = whole("npn_expand")
    assert expands_as_it_should(rows, states) >= 1
    for path, mask in masked_leaves(states[80].masks).items():
        gates = states[80].aux.get(path)
        assert mask.all() if gates is None else (mask == (gates >= 0)).all()


def test_npn_expand_reviews():
    """Directly: wakes at a lower loss, between its stages, as long as there is a unit."""
    method = METHODS["npn_expand"](
        total_steps=100, images=50, first_units=2, start_at=0.2, stop_at=0.6, every=10
    )
    task, tx = classification(linen(LeNet300(widths=(5, 3)))), optax.sgd(0.1)
    state = init_state(task, method, tx, jnp.zeros((1, 2, 2, 1)), jax.random.key(0))

    def review(state, step, loss):
        state = dataclasses.replace(state, step=jnp.int32(step))
        after = method.hooks.on_eval(state, EvalContext(loss, lambda params: 0.0, tx.init))
        return after, [np.flatnonzero(g == 0).tolist() for g in after.aux.values()], after is state

    assert review(state, 19, 1.0)[2]
    assert review(state, 60, 1.0)[2]
    assert review(state, 20, float("inf"))[2]
    state, woken, _ = review(state, 20, 2.0)
    assert woken == [[2], [2]]
    assert review(state, 30, 2.0)[2] and review(state, 30, 2.5)[2]
    state, woken, _ = review(state, 40, 1.5)
    assert woken == [[2, 3], [2]]  # the second layer has three
    state, woken, _ = review(state, 50, 1.0)
    state, woken, _ = review(state, 59, 0.5)
    assert woken == [[2, 3, 4], [2]]
    assert review(state, 59, 0.7)[2]
    assert int(state.mask_state[1]["awake"]) == 6


def test_masks_follow_gates():
    """At each event, at the last step, and at no other; for good if they are to."""
    params = {"Dense_0": {"kernel": jnp.ones((2, 3))}, "Dense_1": {"kernel": jnp.ones((3, 2))}}
    path = "Dense_0/kernel"
    old = update_leaves(
        init_masks(params), {path: jnp.array([[True], [False]]) & jnp.ones((2, 3), bool)}
    )
    gates = {path: jnp.float32([[1, -1, 1]])}

    def living(weights, gates):
        return {path: gates[path] * weights[path][:1] > 0}

    with pytest.raises(ValueError, match="^every: got 0, allowed: 1 or more steps"):
        masks_from_gates(living, every=0, last=10)
    for forever, expected in ((False, [[1, 0, 1]] * 2), (True, [[1, 0, 1], [0, 0, 0]])):
        transform = masks_from_gates(living, every=4, last=10, forever=forever)
        masks, state = transform.init(old, params, jax.random.key(0))
        for step in range(12):
            ctx = MaskContext(jnp.int32(step), params, params, jax.random.key(0), gates=gates)
            new = masked_leaves(transform.update(masks, state, ctx)[0])
            event = step in (4, 8, 10)
            assert bool(transform.may_change(jnp.int32(step))) == event
            np.testing.assert_array_equal(
                new[path], expected if event else masked_leaves(old)[path]
            )
            assert new["Dense_1/kernel"].all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "step"), some([("sparse_vd", 25), ("npn_expand", 40)], [("sparse_vd", 25)])
)
def test_cut_off_and_taken_up_again(name, step, configure, whole, digits, saved, tmp_path, stop_at):
    """To the last bit, with events on either side."""
    record, rows, states = whole(name)
    events = [p["step"] for p in record["curve"] if p["grown"] + p["pruned"]]
    assert events[0] <= step < events[-1]
    config = configure(name)
    config.resume = True
    with stop_at(step):
        train(config, tmp_path, digits)
    assert results(train(config, tmp_path, digits)) == results(record)
    assert lines(tmp_path) == rows
    jax.tree.map(np.testing.assert_array_equal, saved[tmp_path][STEPS][0], states[STEPS])


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["sparse_vd", "npn_expand"])
def test_seeds_as_replicas(name, configure, whole, digits, saved, tmp_path):
    folders = [tmp_path / str(seed) for seed in range(2)]
    records = train_replicas([configure(name, seed) for seed in range(2)], folders, digits)
    alone = whole(name)[0]
    assert [record["compilations"] for record in records] == [1, 1]
    assert records[0]["cost"]["density"] == pytest.approx(alone["cost"]["density"], abs=0.05)
    found = {step: jax.tree.map(np.array, state) for step, state in saved[folders[0]].items()}
    for replica, (folder, record) in enumerate(zip(folders, records, strict=True)):
        masks = masked_leaves(found[STEPS][replica].masks)
        assert record["cost"]["nonzeros"] == sum(int(m.sum()) for m in masks.values())
        if name == "npn_expand":
            assert expands_as_it_should(lines(folder), {s: f[replica] for s, f in found.items()})
    first, second = (found[STEPS][replica].aux for replica in range(2))
    assert all((first[path] != second[path]).any() for path in first)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["sparse_vd", "npn_expand"])
def test_pmap(name, configure, whole, digits, saved, tmp_path, monkeypatch):
    """On one device."""
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    config = configure(name)
    config.train.parallel = "pmap"
    record = train(config, tmp_path, digits)
    assert record["compilations"] == 1
    if name == "npn_expand":
        states = {step: found[0] for step, found in saved[tmp_path].items()}
        assert expands_as_it_should(lines(tmp_path), states)
    else:
        expected = whole(name)[0]["cost"]["density"]
        assert record["cost"]["density"] == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("penalties", {"name": "l0", "penalties": (-0.1,)}),
        ("penalties", {"name": "l0", "penalties": (0.1, 0.1, -0.1)}),
        ("penalties", {"name": "l0", "penalties": (0.1, 0.1)}),
        ("penalties", {"name": "l0_arm", "penalties": ()}),
        ("penalties", {"name": "npn_expand", "penalties": (0.1, 0.1)}),
        ("penalties", {"name": "npn_sparsify", "penalties": 0.1}),
        ("penalties", {"name": "npn_sparsify", "penalties": (float("nan"),)}),
        ("penalties", {"name": "l0", "penalties": ("much",)}),
        ("drops", {"name": "l0", "drops": (0.0,)}),
        ("drops", {"name": "l0", "drops": (0.5, 1.0, 0.5)}),
        ("drops", {"name": "l0", "drops": (0.5, 0.5, 0.5, 0.5)}),
        ("decay", {"name": "l0", "decay": -1.0}),
        ("threshold", {"name": "sparse_vd", "threshold": 9.0}),
        ("start_at", {"name": "sparse_vd", "start_at": 0.2}),
        ("full_at", {"name": "sparse_vd", "full_at": 1.1}),
        ("full_at", {"name": "sparse_vd", "full_at": 0.5, "stop_at": 0.4}),
        ("log_variance", {"name": "sparse_vd", "log_variance": float("inf")}),
        ("remove", {"name": "sparse_vd", "remove": 1}),
        ("every", {"name": "sparse_vd", "every": 0}),
        ("images", {"name": "sparse_vd", "images": 5}),
        ("sharpness", {"name": "l0_arm", "sharpness": 0.0}),
        ("sharpness", {"name": "npn_expand", "sharpness": -1.0}),
        ("first_units", {"name": "npn_expand", "first_units": 0}),
        ("start_at", {"name": "npn_expand", "start_at": 0.8}),
        ("start_at", {"name": "npn_sparsify", "start_at": 0.3, "stop_at": 0.2}),
    ],
)
def test_mistakes_are_reported_by_field(field, settings):
    shapes = {"Dense_0/kernel": (16, 12), "Dense_1/kernel": (12, 8), "Dense_2/kernel": (8, 4)}
    with pytest.raises(UserError) as error:
        build(settings, total_steps=1000, batch_size=32, shapes=shapes)
    assert str(error.value).startswith(f"method.{field}: got ") and "\n" not in str(error.value)


ASTRAY = """
import flax.linen as nn

from gpnas.gates import binary as gates, concrete, masks_from_gates
from gpnas.masks import schedule
from gpnas.methods import Method, gated

def nowhere(weights):
    return {"Dense_9/kernel": -2}

def hard(*, images: int) -> Method:
    return gated(masks_from_gates(gates.nonzero_at_test(), every=5, last=9),
                 concrete.hard_concrete((0.1,), images, grouping=nowhere))

def binary(*, images: int) -> Method:
    return gated(masks_from_gates(gates.nonzero_at_test(), every=5, last=9),
                 gates.bernoulli((0.1,), schedule.constant(7.0), images, grouping=nowhere))

class Idle(nn.Module):
    num_classes: int = 10

    @nn.compact
    def __call__(self, images, train=False):
        x = images.reshape(len(images), -1)
        if not train:
            nn.Dense(4)(x)
        return nn.Dense(self.num_classes, name="used")(x)
"""


@pytest.mark.parametrize(
    ("method", "model", "told"),
    [
        ("astray:hard", "lenet300", "a gate on Dense_9/kernel, allowed: Dense_0/kernel, "),
        ("astray:binary", "lenet300", "a gate on Dense_9/kernel, allowed: Dense_0/kernel, "),
        (
            "sparse_vd",
            "astray:Idle",
            "got Dense_0/kernel, allowed: kernels of layers ",
        ),
    ],
)
def test_a_gate_on_a_layer_that_is_not_there(
    method, model, told, tiny, digits, tmp_path, monkeypatch
):
    (tmp_path / "astray.py").write_text(ASTRAY)
    monkeypatch.syspath_prepend(tmp_path)
    config = tiny(name=method)
    config.model = {"name": model, "dtype": "float32", "conv": "auto"}
    with pytest.raises(UserError, match=told) as caught:
        train(config, tmp_path / "run", digits)
    assert caught.value.field == "method.name" and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_gates_are_unit_masks(whole):
    record, _, states = whole("l0")
    masks = states[STEPS].masks
    for layer, (path, (inputs, outputs)) in zip(
        record["layers"], summary.units(masks).items(), strict=True
    ):
        mask = masked_leaves(masks)[path]
        assert (np.asarray(inputs)[:, None] == mask).all()  # a whole input lives or does not
        assert outputs.all() == bool(inputs.any())
        assert (layer["dead_in"], layer["path"]) == (int((~inputs).sum()), path)
