"""Faults, each done a few times to the smallest runs; experiments/chaos.py does them often."""

import random
import shutil

import jax
import pytest

from experiments.faults import (
    FAULTS,
    Options,
    commands,
    damage,
    interruptions,
    resources,
    small,
)
from gpnas.train import check_config


@pytest.fixture(scope="module", autouse=True)
def small_processes():
    """Processes of one device."""
    settings = {
        "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1",
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happens to."""
    [expected] = commands.uninterrupted(tmp_path_factory.mktemp("whole"), ("train",))
    assert len(expected.states["."]) == 64 and expected.lines == 37
    return expected


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_that_is_killed_ends_in_the_same_state(whole, tmp_path):
    kills = interruptions.killed(whole, tmp_path / "run", 2, random.Random(1))
    assert kills and commands.states(tmp_path / "run") == whole.states


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_leaves_and_goes_on(whole, tmp_path):
    found = interruptions.stopped(whole, tmp_path / "run", random.Random(1))
    assert found["told"] and found["same"] and found["code"] == 75


@pytest.mark.exhaustive
@pytest.mark.slow
def test_without_space_a_run_ends_in_one_line_and_goes_on(whole, tmp_path):
    found = resources.without_space(whole, tmp_path / "run", random.Random(1))
    assert found["told"] and found["same"] and found["code"] == 74


@pytest.mark.parametrize(
    ("missed", "differs", "value", "holds"),
    [(0, None, 4, True), (3, None, 4, True), (3, 2, 4, False), (99, None, 2, False)],
)
def test_equal_bits_need_a_kill_in_every_second_run(
    missed, differs, value, holds, tmp_path, monkeypatch
):
    """The first `missed` runs that are to be killed end before; run `differs` ends otherwise."""
    runs, expected = [], commands.Expected("convolutions", {".": "a"}, 5)

    def killed(expected, folder, kills, rng):
        runs.append(folder)
        asked.extend([True] * kills)
        return [True] * kills * (len(asked) > missed)

    asked: list[bool] = []
    end = {".": "a"}, {".": "b"}
    monkeypatch.setattr(interruptions, "uninterrupted", lambda *args: [expected])
    monkeypatch.setattr(interruptions, "killed", killed)
    monkeypatch.setattr(interruptions, "states", lambda at: end[runs.index(at) == differs])
    found = interruptions.same_bits(Options(tmp_path, 4))
    assert (found.value, found.holds) == (value, holds)
    assert len(set(runs)) == len(runs) == 4 + min(missed, 18)


@pytest.mark.parametrize("kind", ["train", "elastic", "convolutions"])
def test_small_runs_have_valid_configs(kind):
    assert check_config(small.get_config(kind)) is None


@pytest.mark.slow
def test_wrong_configs_are_refused_in_one_line_or_a_plan(tmp_path):
    found = FAULTS["bad_configs"][0](Options(tmp_path, 60))
    assert found.holds and found.value == 60
    assert found.details["refused"] > 30 and found.details["plan"] > 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 40 steps, and its images."""
    return damage.finished(tmp_path_factory.mktemp("finished"))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["arrays", "digests", "run files"])
def test_a_flipped_bit_is_noticed(part, finished, tmp_path):
    for seed in range(3):
        run = shutil.copytree(finished[0], tmp_path / f"{seed}" / "run")
        found = damage.after_a_flip(run, part, finished[1], random.Random(seed))
        assert found in ("noticed", "unchanged")
        assert found == "noticed" or part == "run files"


@pytest.mark.slow
@pytest.mark.parametrize("name", damage.HOSTILE)
def test_a_hostile_record_is_one_line_for_whoever_reads_it(name, finished, tmp_path):
    run = shutil.copytree(finished[0], tmp_path / "run")
    (run / "record.json").unlink()
    damage.HOSTILE[name](run / "record.json")
    for reader, read in damage.READERS.items():
        assert damage.after_reading(read, run, finished[1]) in ("refused", "read"), reader


@pytest.mark.slow
def test_mistakes_are_one_line_and_exit_2(python):
    for flag, said in (("--only=sigkil", "only: got"), ("--kills=0", "kills: got 0")):
        done = python("experiments/chaos.py", flag)
        assert done.returncode == 2 and done.stderr.startswith(said), done.stderr
        assert done.stderr.count("\n") == 1 and not done.stdout
