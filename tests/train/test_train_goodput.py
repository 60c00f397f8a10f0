"""Where the time of a run goes, and its bits: two runs of a config end in the same."""

import functools
import json

import jax
import jax.numpy as jnp
import pytest

from gpnas.errors import UserError
from gpnas.train import Stopped, _loop, _together, make_plan, train
from gpnas.train._goodput import goodput, split_due, undone
from gpnas.train._program import initial_state, make_bodies
from tests import jaxprs

LINES = [
    {"split": "train", "wall_s": 5.0, "compile_s": 2.0, "start_s": 1.0, "data_s": 0.5},
    {"split": "validation", "wall_s": 8.0, "compile_s": 1.0},
    {"split": "train", "wall_s": 10.0, "save_s": 0.25, "lost_s": 4.0},
]


def test_seconds_are_shared_by_what_a_run_did():
    assert goodput(LINES, {"save_s": 0.25}) == {
        "starting": 1.0, "compiling": 3.0, "training": 4.5, "evaluating": 2.0,
        "waiting_for_data": 0.5, "saving": 0.5, "lost": 4.0, "goodput": round(4.5 / 15.5, 4),
    }  # fmt: skip


def test_what_is_done_again_is_lost():
    assert undone(LINES, 3) == undone([], 0) == 0.0
    assert undone(LINES, 2) == 2.0 + 0.25 + 4.0
    assert undone(LINES, 0) == 10.0 + 1.0 + 0.25 + 4.0
    assert undone([{"wall_s": "x"}, {"wall_s": None, "lost_s": []}], 1) == 0.0


def test_few_seconds_are_told_later():
    assert split_due({"data_s": 2e-4, "save_s": 0.1234}) == ({"save_s": 0.123}, {"data_s": 2e-4})


@pytest.mark.slow
def test_a_run_that_was_stopped_tells_what_it_lost_and_ends_in_the_same_state(
    tiny, digits, tmp_path, stop_at
):
    config = tiny(name="rigl", density=0.2, every=5)
    config.train.profile = (22, 30)
    whole = train(config, tmp_path / "whole", digits)
    assert list((tmp_path / "whole" / "profile").rglob("*.xplane.pb"))
    config.train.profile = ()
    again = train(config, tmp_path / "again", digits)
    assert whole["state_sha256"] == again["state_sha256"] and len(again["state_sha256"]) == 64
    assert whole["seconds"]["compiling"] > 0 and whole["seconds"]["lost"] == 0
    spent = sum(value for name, value in whole["seconds"].items() if name != "goodput")
    assert spent > whole["wall_s"] > 0.0

    config.resume = True
    folder = tmp_path / "parts"
    with stop_at(21):
        train(config, folder, digits)
    path = folder / "metrics.jsonl"
    later = {"step": 28, "split": "train", "wall_s": 1e4, "save_s": 5}
    path.write_text(path.read_text() + json.dumps(later) + "\n")  # as a kill leaves it
    found = train(config, folder, digits)
    assert found["state_sha256"] == again["state_sha256"]
    assert 9e3 < found["seconds"]["lost"] < 2e4 and found["wall_s"] < 9e3


@pytest.mark.parametrize(
    ("value", "expected"), [("highest", (jax.lax.Precision.HIGHEST,) * 2), ("", None)]
)
def test_all_products_of_a_run_have_its_precision(
    value, expected, tiny, digits, tmp_path, monkeypatch
):
    found = []

    def precisions(plan, data, *more):
        state = jax.eval_shape(functools.partial(initial_state, plan), jax.random.key(0))
        sums = dict.fromkeys(plan.metrics, jnp.float32(0))
        rows = jnp.zeros((1, plan.batch_size), int)
        args = 0, state, sums, data.train.inputs, data.train.targets, rows
        jaxpr = jax.make_jaxpr(make_bodies(plan, data)["any"])(*args)
        products = [e for e, _ in jaxprs.equations(jaxpr) if e.primitive.name == "dot_general"]
        found.extend(product.params["precision"] for product in products)
        raise Stopped

    monkeypatch.setattr(_loop, "make_program", precisions)
    config = tiny(name="rigl", density=0.2, every=5)
    config.train.matmul_precision = value
    with pytest.raises(Stopped):
        train(config, tmp_path / "run", digits)
    # Forward of three layers; gradients of their weights, and of the inputs of two.
    assert found == [expected] * 8


def test_seeds_are_timed_as_they_train(tiny, digits, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    timed = []

    def milliseconds(plan, data, replicas):
        timed.append((replicas, jax.config.jax_default_matmul_precision))
        return 1.0

    monkeypatch.setattr(_together, "milliseconds", milliseconds)
    config = tiny(name="dense")
    plan = make_plan(config, digits)

    def measure(precision, flags):
        config.train.matmul_precision = precision
        monkeypatch.setenv("XLA_FLAGS", flags)
        assert _together.faster_together(config, digits, plan, 2)
        return [timed.pop(0) for _ in range(len(timed))]

    default = jax.config.jax_default_matmul_precision
    assert measure("", "") == [(2, default), (1, default)]
    assert measure("highest", "") == [(2, "highest"), (1, "highest")]
    assert len(measure("", "--a --xla_gpu_deterministic_ops=true")) == 2  # another program
    assert not measure("", "--a")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("profile", (3,)),
        ("profile", (5, 5)),
        ("profile", (-1, 4)),
        ("profile", (1, "a")),
        ("matmul_precision", "tf32"),
        ("keep_epochs", (0,)),
        ("keep_epochs", (1000,)),
        ("keep_epochs", ("1",)),
    ],
)
def test_what_is_refused(field, value, tiny, digits):
    config = tiny(name="dense")
    config.train[field] = value
    with pytest.raises(UserError, match=f"train.{field}: got"):
        make_plan(config, digits)


def test_deterministic_operations_are_asked_for_before_jax_starts(python, tiny, digits):
    code = (
        "import os; from gpnas import train; c = train.base(); c.data.name = 'digits'\n"
        "c.train.deterministic = True; train.make_plan(c, train.load_data(c))\n"
        "print(os.environ['XLA_FLAGS'])"
    )
    done = python("-c", code)
    assert "--xla_gpu_deterministic_ops=true" in done.stdout.split(), done.stderr
    assert jax.devices()  # has started, without the flag
    config = tiny(name="dense")
    config.train.deterministic = True
    with pytest.raises(UserError, match="train.deterministic: got True, allowed: False, or XLA_FL"):
        make_plan(config, digits)
