"""Early stopping: when a run ends, what its record says, and that it is a part of the whole run."""

import json

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas import masks, methods
from gpnas.deploy import export
from gpnas.errors import UserError
from gpnas.train import Metric, _patience, base, load_run, make_plan, train, train_replicas
from gpnas.train._prepare import _check_configs
from tests.cases import some
from tests.times import TIMES

GMP = {"name": "gmp", "density": 0.2, "every": 5, "stop_at": 0.4}
FROZEN = 1e-30  # a learning rate at which no weight changes
VALUES = st.lists(st.integers(0, 5).map(float))


@pytest.fixture(scope="module")
def patient(tiny):
    """`(patience, rate, **method) → config` of 12 epochs of 20 steps."""

    def make(patience, rate=0.1, /, **method):
        config = tiny(**(method or {"name": "dense"}))
        config.train.epochs, config.train.patience = 12, patience
        config.optimizer.learning_rate = rate
        config.train.checkpoint_seconds = 3600.0
        return config

    return make


@pytest.fixture(scope="module")
def whole(patient, digits, tmp_path_factory):
    """`(record, lines)` of GMP, to the end."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return train(patient(0, **GMP), folder, digits), lines(folder)


@pytest.fixture(scope="module")
def early(patient, digits, tmp_path_factory):
    """`(folder, record, lines)` of the same run with a patience of 1; not to be changed."""
    folder = tmp_path_factory.mktemp("early") / "run"
    return folder, train(patient(1, **GMP), folder, digits), lines(folder)


def lines(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def results(record):
    """What a record says of the run itself."""
    return {k: v for k, v in record.items() if k not in (*TIMES, "config", "compilations")}


def evaluated(record):
    return [look["step"] for look in record["evaluations"]]


# When it ends


@given(VALUES, st.sampled_from(["lower", "higher"]))
def test_evaluations_since_the_best(values, better):
    found = _patience.waited(values, Metric("loss", better=better))
    best = {"lower": min, "higher": max}[better](values, default=None)
    assert found == (len(values) - 1 - values.index(best) if values else 0)


@given(st.floats(allow_nan=True, allow_infinity=True), st.integers(1, 5))
def test_what_is_never_better_is_waited_for(value, count):
    waited = _patience.waited([value] * count, Metric("loss"))
    assert waited == (count - 1 if value < np.inf else count)


@given(st.integers(1, 12), st.integers(1, 14), st.integers(0, 14), st.integers(0, 36))
def test_a_patience_is_refused_where_masks_are_final_too_late_for_it(
    epochs, interval, patience, final
):
    config = base(name="dense")
    config.train.epochs, config.train.eval_every, config.train.patience = epochs, interval, patience
    steps = [s for s in range(1, 3 * epochs + 1) if s % (3 * interval) == 0 or s == 3 * epochs]
    final = min(final, 3 * epochs)

    def stops(final):
        """Where a run ends whose metric stays the same."""
        method = _method(lambda step: step < final)
        rule = _patience.make_rule(config.train, method, 3 * epochs, Metric("loss"))
        seen = (tuple((s, 1.0) for s in steps[:i]) for i in range(1, len(steps)))
        return next((values[-1][0] for values in seen if rule(values)), 3 * epochs)

    refused = stops(0) < 3 * epochs and stops(final) == 3 * epochs
    try:
        _patience.check_patience(config, _method(lambda step: step < final), 3)
        assert not refused
    except UserError as error:
        assert refused, error
    if stops(final) < 3 * epochs:
        assert stops(final) >= max(final, steps[patience])
        assert sum(final <= s <= stops(final) for s in steps) == patience + 1


def _method(may_change):
    transform = masks.identity()._replace(may_change=may_change)
    return methods.METHODS["dense"]()._replace(transform=transform)


@pytest.mark.parametrize("name", ["gmp", "granet"])
def test_masks_are_final_when_the_density_is(name):
    """Their mask updates end with the curve, so early stopping need not wait for the run's end."""
    method = methods.METHODS[name](density=0.2, total_steps=1000, every=7, stop_at=0.5)
    assert _patience.masks_final(method, 1000) == 497 + 1
    curve = method.forecast.density
    assert float(curve(497)) == pytest.approx(0.2)
    assert float(curve(496)) > 0.2


@pytest.mark.slow
def test_it_ends_as_the_whole_run_began(whole, early):
    (full, rows), (_, record, found) = whole, early
    stop, final = record["stopped_step"], 96 + 1  # 40 % of 240, in steps of 5
    assert "stopped_step" not in full
    assert found == [row for row in rows if row["step"] <= stop]
    assert evaluated(record)[-1] == stop < 240

    counted = [look["error"] for look in full["evaluations"] if look["step"] >= final]
    worse = next(i for i in range(1, len(counted)) if counted[i] >= min(counted[:i]))
    assert stop == 100 + 20 * worse
    metrics = record["metrics"]
    assert metrics["val_error_selected"] == min(counted[: worse + 1])
    assert metrics["selected_step"] == 100 + 20 * int(np.argmin(counted[: worse + 1]))
    assert metrics["test_error_selected"] >= 0

    assert record["layers"] == full["layers"]
    cost, planned = record["cost"], record["expected"]
    assert (record["total_steps"], planned) == (240, full["expected"])
    assert cost["train_flops_dense"] == pytest.approx(planned["train_flops_dense"] * stop / 240)
    assert cost["train_flops"] < full["cost"]["train_flops"]
    assert record["cost"]["nonzeros"] == full["cost"]["nonzeros"]


DEVELOPMENT = {
    "name": "development", "density": 0.2, "peak": 3.0, "every": 5, "window": 3,
    "stop_at": 0.5, "decay": 0.9,
}  # fmt: skip
RIGL = {"name": "rigl", "density": 0.3, "every": 5, "stop_at": 0.4}


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", some([DEVELOPMENT, RIGL], [DEVELOPMENT]), ids=["development", "rigl"]
)
def test_not_before_the_masks_are_final(method, patient, digits, tmp_path):
    """A network that does not learn ends as soon as it may."""
    record = train(patient(2, FROZEN, **method), tmp_path, digits)
    changes = [point["step"] for point in record["curve"] if point["pruned"] or point["grown"]]
    final = _patience.masks_final(make_plan(patient(2, **method), digits).method, 240)
    first = next(step for step in evaluated(record) if step >= final)
    assert 80 < max(changes) <= first <= 140
    assert record["stopped_step"] == first + 2 * 20
    assert record["curve"][-1]["density"] == pytest.approx(method["density"], rel=0.01)


@pytest.mark.slow
def test_pmap(patient, digits, tmp_path):
    config = patient(1, FROZEN)
    config.train.parallel, config.train.eval_every = "pmap", 2
    assert train(config, tmp_path, digits)["stopped_step"] == 80
    assert jax.device_count() > 1


# What is read from it


@pytest.mark.exhaustive
def test_a_run_that_is_resumed_ends_where_it_would_have(early, patient, digits, tmp_path, stop_at):
    config = patient(1, **GMP)
    config.resume = True
    with stop_at(121):  # two evaluations have counted
        train(config, tmp_path, digits)
    assert results(train(config, tmp_path, digits)) == results(early[1])
    assert lines(tmp_path) == early[2]


@pytest.mark.slow
def test_a_run_that_has_ended_is_not_gone_on_with(early, patient, digits, tmp_path, monkeypatch):
    config = patient(1, **GMP)
    record = train(config, tmp_path, digits)
    config.resume = True
    (tmp_path / "record.json").unlink()  # cut off after its last checkpoint
    again = train(config, tmp_path, digits)
    assert results(again) == results(record) == results(early[1])
    assert lines(tmp_path) == early[2]
    monkeypatch.setattr("gpnas.train._loop.make_program", None)
    assert train(config, tmp_path, digits) == json.loads(json.dumps(again))
    config.train.patience = 2
    with pytest.raises(UserError, match=r"train\.patience: got 2, allowed: 1, as the run in"):
        train(config, tmp_path, digits)


@pytest.mark.slow
def test_load_run_and_export(early, digits):
    folder, record, _ = early
    assert load_run(folder, "last", digits).record["stopped_step"] == record["stopped_step"]
    report = export.export_run(folder, ["stablehlo"], "selected", seconds=0)
    compact = next(row for row in report["files"] if row["file"].startswith("compact"))
    assert compact["test_error"] == pytest.approx(record["metrics"]["test_error_selected"])


# What is refused


LOBSTER = {"name": "lobster", "density": 0.2, "patience": 1}


@pytest.mark.parametrize(
    "patience, method, allowed",
    [
        (-1, {"name": "dense"}, "0 or more evaluations; 0: never"),
        (1, {"name": "lottery", "rounds": 2}, "0 for method.name=lottery, which changes"),
        (1, LOBSTER, "0 for method.name=lobster, which changes the network after evaluations"),
        (1, {"name": "set", "density": 0.2, "every": 5}, "at most 0: method.name=set may update"),
        (1, {"name": "l0"}, "at most 0: method.name=l0 may update masks until step 240 of 240"),
        (7, GMP, "at most 6: method.name=gmp may update masks until step 96 of 240"),
    ],
)
def test_one_line(patience, method, allowed, patient, digits, tmp_path):
    with pytest.raises(UserError) as found:
        train(patient(patience, **method), tmp_path / "run", digits)
    assert str(found.value).startswith(f"train.patience: got {patience}, allowed: {allowed}")
    assert "\n" not in str(found.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("patience", [1.5, True, "3", None])
def test_a_patience_of_another_type(patience, patient):
    config = patient(0)
    with config.train.ignore_type():
        config.train.patience = patience
    with pytest.raises(UserError, match=r"train\.patience: .*a value of type int"):
        _check_configs([config])


def test_seeds_that_train_at_once(patient, digits, tmp_path):
    configs = [patient(2), patient(2)]
    configs[1].seed = 1
    with pytest.raises(UserError, match=r"train\.patience: got 2, allowed: 0, where several seeds"):
        train_replicas(configs, [tmp_path / "0", tmp_path / "1"], digits)
    assert not list(tmp_path.iterdir())
