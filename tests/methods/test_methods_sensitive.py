"""Methods that shrink the insensitive and prune at plateaus, trained on the digits."""

import itertools
import json

import jax
import numpy as np
import pytest

from gpnas import data
from gpnas.errors import UserError
from gpnas.masks import masked_leaves
from gpnas.methods import Method, build
from gpnas.train import base, train, train_replicas
from tests.cases import some
from tests.times import TIMES

CUTS = (20, 40)  # of the looks at steps 10 to 50: one after a cut, and the last, cut nothing
METHODS = {
    "lobster": {"name": "lobster"},
    "unspecified": {"name": "sensitivity", "kind": "unspecified"},
    "specified": {"name": "sensitivity", "kind": "specified", "refresh": 2},
    "exact": {"name": "serene", "kind": "exact", "positions": "sum"},
    "lower bound": {"name": "serene", "kind": "lower_bound", "refresh": 3},
    "upper bound": {"name": "serene", "kind": "upper_bound"},
    "local": {"name": "serene", "kind": "local"},
}
OFTEN = {"density": 0.02, "rate": 0.02, "patience": 1, "slack": -0.9, "tolerance": 0.02}


@pytest.fixture(autouse=True)
def lenient(strict):
    """As in the folder of training: others' code mixes types."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def config_of(name, **fields):
    """A run of 50 steps of a network of 2,720 weights."""
    config = base(**METHODS[name], **OFTEN)
    config.data.name = "digits"
    config.model.widths = (32, 16)
    config.train.update(epochs=5, batch_size=128, log_every=4, tensorboard=False)
    config.train.checkpoint_seconds = 0.0
    config.optimizer.update(schedule="linear", decay_at=0.5)
    config.update(fields)
    return config


@pytest.fixture(scope="module")
def whole(digits, all_saves, tmp_path_factory):
    """`name → (record, lines, {step: state})` of a run, done once."""
    done = {}

    def get(name):
        if name not in done:
            folder = tmp_path_factory.mktemp("runs") / "run"
            with all_saves() as saved:
                record = train(config_of(name), folder, digits)
            states = {step: state for step, (state,) in saved[folder].items()}
            done[name] = record, lines(folder), states
        return done[name]

    return get


def lines(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def kernels(state):
    """`[(mask, weights)]`."""
    masks, weights = masked_leaves(state.masks), masked_leaves(state.masks, state.params)
    return [(masks[path], weights[path]) for path in masks]


def living(state):
    return sum(int(mask.sum()) for mask, _ in kernels(state))


@pytest.mark.slow
@pytest.mark.parametrize("name", some(METHODS, ["lobster", "specified"]))
def test_density_falls_at_plateaus_only(name, whole):
    record, _, states = whole(name)
    assert list(states) == [10, 20, 30, 40, 50]
    fell = [b for a, b in itertools.pairwise(states) if living(states[b]) < living(states[a])]
    assert tuple(fell) == CUTS
    weights, nonzeros = record["cost"]["weights"], record["cost"]["nonzeros"]
    for point in record["curve"]:  # the end of an epoch is logged before the cut
        last = max(cut for cut in (10, *CUTS) if cut == 10 or cut < point["step"])
        assert point["density"] == living(states[last]) / weights
    assert living(states[10]) == weights and nonzeros == living(states[50])
    assert OFTEN["density"] * weights <= nonzeros < 0.5 * weights
    assert record["compilations"] == 1


@pytest.mark.parametrize("name", some(METHODS, ["lobster", "specified"]))
def test_the_curve_counts_what_is_pruned(name, whole):
    record, _, states = whole(name)
    pruned = {point["step"]: point["pruned"] for point in record["curve"] if point["pruned"]}
    assert pruned == {cut + 4: living(states[cut - 10]) - living(states[cut]) for cut in CUTS}
    assert sum(pruned.values()) == record["cost"]["weights"] - record["cost"]["nonzeros"]
    assert not any(point["grown"] for point in record["curve"])
    for point in record["curve"]:
        for layer in point["layers"].values():
            assert layer["mean_density"] == pytest.approx(layer["density"], rel=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_pruned_stays_zero(name, whole):
    _, _, states = whole(name)
    for state in states.values():
        for mask, weights in kernels(state):
            assert not weights[~mask].any() and (weights[mask] != 0).mean() > 0.99
    for a, b in itertools.pairwise(states.values()):
        for (old, _), (new, _) in zip(kernels(a), kernels(b), strict=True):
            assert not (new & ~old).any()


def test_no_two_of_them_shrink_alike(whole):
    first = [np.concatenate([w.ravel() for _, w in kernels(whole(n)[2][10])]) for n in METHODS]
    for one, other in itertools.combinations(first, 2):
        assert np.abs(one - other).max() > 1e-5


@pytest.mark.slow
def test_resumed_across_a_cut(whole, digits, all_saves, stop_at, tmp_path):
    expected, rows, states = whole("lower bound")
    config = config_of("lower bound", resume=True)
    with all_saves() as saved:
        for step in (18, 34):  # at the look that cuts, and between two
            with stop_at(step):
                train(config, tmp_path, digits)
        found = train(config, tmp_path, digits)
    assert {20, 36, 50} <= saved[tmp_path].keys()
    for step in (20, 40, 50):
        jax.tree.map(np.testing.assert_array_equal, saved[tmp_path][step][0], states[step])
    assert lines(tmp_path) == rows
    told = ("metrics", "cost", "layers", "curve")
    assert {k: found[k] for k in told} == {k: expected[k] for k in told}


@pytest.mark.exhaustive
def test_replicas(whole, digits, tmp_path):
    alone = whole("lobster")[0]
    configs = [config_of("lobster", seed=seed) for seed in (0, 1)]
    records = train_replicas(configs, [tmp_path / "0", tmp_path / "1"], digits)
    for record in records:
        pruned = {point["step"]: point["pruned"] for point in record["curve"] if point["pruned"]}
        assert tuple(pruned) == tuple(cut + 4 for cut in CUTS)
        assert sum(pruned.values()) == record["cost"]["weights"] - record["cost"]["nonzeros"]
        assert record["compilations"] == 1
    assert records[0]["layers"] != records[1]["layers"]
    # a threshold may fall on the other side of a weight where losses all but tie
    assert records[0]["cost"]["density"] == pytest.approx(alone["cost"]["density"], abs=0.05)
    gap = records[0]["metrics"]["test_error_last"] - alone["metrics"]["test_error_last"]
    assert abs(gap) < 6


@pytest.mark.exhaustive
def test_pmap(whole, digits, all_saves, tmp_path):
    config = config_of("lower bound")
    config.train.parallel = "pmap"
    with all_saves() as saved:
        train(config, tmp_path, digits)
    states = {step: state for step, (state,) in saved[tmp_path].items()}
    for (_, w), (_, expected) in zip(
        kernels(states[10]), kernels(whole("lower bound")[2][10]), strict=True
    ):
        np.testing.assert_allclose(w, expected, rtol=1e-3, atol=1e-4)
    sizes = [living(states[step]) for step in (10, 20, 30, 40, 50)]
    assert sizes[0] > sizes[1] == sizes[2] > sizes[3] == sizes[4]


def made(**settings):
    """A method of a run of 1000 steps."""
    return build(settings, total_steps=1000, batch_size=32, shapes={"Dense_0/kernel": (16, 12)})


@pytest.mark.parametrize("name", ["lobster", "sensitivity", "serene"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("density", None),
        ("density", 0.0),
        ("density", 1.5),
        ("rate", -0.1),
        ("patience", 0),
        ("patience", 1.5),
        ("slack", -1.0),
        ("tolerance", -0.1),
        ("stop_at", 1.5),
        ("kind", "no such"),
        ("refresh", 0),
    ],
)
def test_mistakes_are_reported_by_field(name, field, value):
    settings = {"name": name, "density": 0.1} | {field: value}
    if value is None:
        del settings[field]
    with pytest.raises(UserError) as error:
        made(**settings)
    assert error.value.field == f"method.{field}" and "\n" not in str(error.value)


def test_only_derivatives_are_summed_over_positions():
    for kind in ("local", "upper_bound"):
        with pytest.raises(UserError, match=rf'positions: got .sum., allowed: "mean".*"{kind}"'):
            made(name="serene", density=0.1, kind=kind, positions="sum")
    with pytest.raises(UserError, match="method.positions: got 'max', allowed: "):
        made(name="serene", density=0.1, positions="max")


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
def test_the_least_that_must_be_said(settings):
    method = made(density=1.0, **settings)
    assert isinstance(method, Method) and method.hooks.on_eval is not None


@pytest.mark.slow
def test_a_network_that_it_cannot_look_into(tmp_path):
    config = base(name="serene", density=0.1, kind="upper_bound")
    config.model.name = "lenet5"
    digits = data.load("digits", cache_dir=tmp_path, image_size=28)
    with pytest.raises(UserError, match="dense chains") as caught:
        train(config, tmp_path / "run", digits)
    assert caught.value.field == "method.name"
    assert not (tmp_path / "run").exists()
