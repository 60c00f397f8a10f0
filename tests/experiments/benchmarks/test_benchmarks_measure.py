"""How time is taken, and what becomes of records; sizes so small that it takes seconds."""

import json
import pathlib
import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from configs import development, rigl
from experiments.benchmarks import MEASUREMENTS, Missing, Options, fashion, pytorch, selection
from experiments.benchmarks.measure import compiling, interleave, ratio, summary
from experiments.benchmarks.subjects import (
    config_of,
    every,
    plain,
    plain_steps,
    random_data,
    trained,
)
from gpnas.timing import covered, without_stored_programs
from gpnas.train import make_plan

ROOT = pathlib.Path(__file__).parents[3]
CONFIGS = {"development": development.get_config, "rigl": rigl.get_config}


@pytest.fixture
def options(tmp_path: pathlib.Path) -> Options:
    return Options(CONFIGS, tmp_path, fast=True)


def test_interleave_calls_in_turn_and_warms_up():
    order: list[str] = []
    taken = interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3
    assert {name: len(times) for name, times in taken.items()} == {"a": 2, "b": 2}


def test_ratio_is_of_medians():
    taken = {"ours": [1.0, 2.0, 9.0], "other": [4.0, 4.0, 1.0]}
    assert ratio(taken, "ours", "other") == 0.5
    assert summary(taken, 10)["median_ms"] == {"ours": 200.0, "other": 400.0}
    assert summary(taken)["minimum_ms"] == {"ours": 1000.0, "other": 1000.0}


def test_compiling_counts_what_compiles_and_nothing_else():
    with compiling() as seconds:
        begun = time.perf_counter()
        jax.jit(lambda x: jnp.sin(x) + 1)(jnp.ones(3)).block_until_ready()
        whole = time.perf_counter() - begun
        time.sleep(0.2)
    assert 0 < seconds() <= whole
    before = seconds()
    jax.jit(lambda x: jnp.cos(x) + 2)(jnp.ones(3)).block_until_ready()
    assert seconds() == before


def test_programs_are_compiled_anew_where_stored_ones_are_not_used(tmp_path):
    def stored(add):
        before = len([*tmp_path.iterdir()])
        jax.jit(lambda x: jnp.cos(x) @ x + add)(jnp.ones((3, 3)))
        return len([*tmp_path.iterdir()]) > before

    folder, least = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
    before = jax.config.values[folder], jax.config.values[least]
    try:
        jax.config.update(folder, str(tmp_path))
        jax.config.update(least, 0)
        compilation_cache.reset_cache()
        assert stored(1)
        with without_stored_programs():
            assert not stored(2)
        assert stored(3)
    finally:
        jax.config.update(folder, before[0])
        jax.config.update(least, before[1])
        compilation_cache.reset_cache()


def test_nested_spans_count_once():
    assert covered([(0.0, 4.0), (1.0, 2.0), (3.0, 5.0), (7.0, 8.0)]) == 6.0


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", ["lenet300", "lenet5"])
def test_our_steps_and_the_plain_ones_go_on_from_call_to_call(options, model):
    data = random_data((28, 28, 1), 200)
    config = config_of(options, "development", model)
    every(config, 2)
    durations = make_plan(config, data).durations
    assert [durations[name] for name in ("every", "window")] == [2, 1]
    ours, theirs = trained(config, data, 3), plain_steps(config, data, 3)
    for calls in (1, 2):
        state, sums = ours()
        assert int(state.step) == 3 * calls
        assert np.isfinite(np.asarray(sums["loss"])).all() and np.isfinite(theirs()).all()


@pytest.mark.slow
def test_the_plain_loop_is_the_same_in_one_program_and_step_by_step(options):
    data = random_data((8, 8, 1), 200)
    config = config_of(options, "development", "lenet300")
    config.model.widths = (16, 8)
    index = np.arange(3 * 128, dtype=np.int32).reshape(3, 128) % 200
    sums = []
    for loop in ("scan", "steps"):
        config.train.loop = loop
        loops = plain(config, data)
        state, found = loops.run(loops.init(), index)
        sums.append(found)
        assert loops.evaluate(state, data.test.inputs, data.test.targets).shape == (2,)
    np.testing.assert_allclose(*sums, rtol=1e-5)


@pytest.mark.slow
def test_top_k_is_exact_with_ties(options):
    found = selection.top_k_ratio(options, 4_000_000)
    assert found.name == "top_k_ratio_4m" and found.value > 0
    assert set(found.details["selected"].values()) == {400}


@pytest.mark.exhaustive
def test_compilations_are_one(options):
    found = MEASUREMENTS["compilations"](options)
    assert (found.value, found.holds) == (1, True)
    assert found.details["traces_of_step"] == found.details["executables"] == 1
    assert found.details["highest_density"] > found.details["lowest_density"]


@pytest.mark.exhaustive
def test_seeds_per_hour_of_a_convolutional_network(options):
    found = MEASUREMENTS["replicas_ratio_conv"](options)
    assert found.name == "replicas_ratio_conv" and found.holds == (found.value > 1)
    details = found.details["convnet"]
    together, one = (details["median_ms"][name] for name in ("replicas", "one seed"))
    assert found.value == details["ratio"] == pytest.approx(5 * one / together)


def test_accelerators_are_measured_by_known_names():
    script = (ROOT / "experiments" / "accelerator.sh").read_text()
    parts = re.findall(r"^(?:first|larger|rest\+?)=([\w,]+)$", script, re.MULTILINE)
    names = [name for part in parts for name in part.strip(",").split(",")]
    assert len(parts) == 4 and len(set(names)) == len(names) and set(names) <= set(MEASUREMENTS)
    assert {"replicas_ratio", "replicas_ratio_conv", "checkpoint_async"} <= set(names)


def test_missing_pytorch_is_said(options, monkeypatch):
    monkeypatch.setattr(pytorch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Missing, match=r"pip install 'gpnas\[bench\]'"):
        MEASUREMENTS["torch_ratio_lenet5"](options)


def _records(folder: pathlib.Path, errors: dict[str, list[float]], density: float = 0.07) -> None:
    path = folder / "fashion" / "records.jsonl"
    path.parent.mkdir(exist_ok=True)
    lines = [
        {
            "arm": arm,
            "seed": seed,
            "config": {"method": {"density": 0.02}},
            "metrics": {"test_error_last": error},
            "cost": {"mean_training_density": density},
        }
        for arm, values in errors.items()
        for seed, error in enumerate(values)
    ]
    denser = {"config": {"method": {"density": 0.1}}, "metrics": {"test_error_last": 0.0}}
    lines += [line | denser for line in lines]  # of another density, which does not count
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


_OURS = [10.0, 10.2, 9.8, 10.1, 9.9]


@pytest.mark.parametrize(
    ("gmp", "rigl", "density", "holds"),
    [
        (0.5, 1.2, 0.07, True),
        (-0.1, 1.2, 0.07, False),
        (0.5, 0.9, 0.07, False),
        (0.5, 1.2, 0.09, False),
    ],
)
def test_fashion_2pct(options, gmp, rigl, density, holds):
    spread = [e + 0.01 * (i % 2) for i, e in enumerate(_OURS)]
    others = {"gmp": [e + gmp for e in _OURS], "rigl": [e + rigl for e in spread]}
    _records(options.results, {"development": _OURS, **others}, density)
    found = fashion.fashion_2pct(options)
    assert found.holds == holds
    assert found.value == pytest.approx(10.0)
    assert found.details["differences"]["gmp"]["mean"] == pytest.approx(-gmp)
    assert found.details["differences"]["rigl"]["half_of_95"] == pytest.approx(0.0068, abs=1e-4)
    assert found.details["differences"]["gmp"]["half_of_95"] is None  # all differences are equal


def test_fashion_2pct_needs_five_seeds_and_all_arms(options):
    with pytest.raises(Missing, match="fashion"):
        fashion.fashion_2pct(options)
    _records(options.results, {"development": _OURS[:4], "gmp": [11.0] * 4, "rigl": [12.0] * 4})
    assert not fashion.fashion_2pct(options).holds
    _records(options.results, {"development": _OURS, "gmp": [11.0] * 5})
    with pytest.raises(Missing, match="rigl"):
        fashion.fashion_2pct(options)


@pytest.mark.slow
def test_latency_with_and_without_blocks_of_channels(options):
    pytest.importorskip("onnxruntime")
    found = MEASUREMENTS["front_latency_unblocked"](options)
    times = found.details["minimum_ms"]
    assert {name.split()[1] for name in times} == {"16-32-32-64", "8-16-16-32"}
    slow, fast = (times[f"unblocked {widths}"] for widths in ("16-32-32-64", "8-16-16-32"))
    assert slow > fast and 0 < found.value < slow / fast
