"""Processes side by side: how many, what fails, and what a stop does."""

import signal
import sys
import time

import pytest

from experiments.studies import study
from experiments.studies.jobs import jobs_of, run_jobs
from gpnas.commandline import stop_signal
from gpnas.train import settings
from tests.cases import some


def python(code):
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("most", some([1, 2, 8, 100], [2]))
@pytest.mark.parametrize("name", ["coupling_tuning", "coupling_ablations"])
def test_each_setting_of_a_sweep_is_in_one_process(name, most):
    """Arms of `coupling_ablations` are named as others without their setting."""
    found = study.load()[name]
    config = found.get_config()
    jobs = jobs_of(name, found, config, most)
    parts = [len(own) for own in jobs.values()]
    assert len(jobs) == min(most, len(config.arms)) and max(parts) - min(parts) <= 1
    trained = []
    for own in jobs.values():
        config.only = ",".join(arm.removeprefix(f"{name}/") for arm in own)
        trained += [setting for setting, _ in settings(config)]
    config.only = ""
    assert sorted(trained) == sorted(setting for setting, _ in settings(config))


def test_rows_and_selected_arms_are_jobs():
    studies = study.load()
    rows = jobs_of("lenet5", studies["lenet5"], studies["lenet5"].get_config(), 2)
    assert rows == {row: [row] for row in studies["lenet5"].rows}
    config = studies["coupling_wide"].get_config()
    config.only = "development@0.01"
    jobs = jobs_of("coupling_wide", studies["coupling_wide"], config, 2)
    assert list(jobs.values()) == [["coupling_wide/development@0.01"]]
    rivals = studies["front_rivals"]
    config = rivals.get_config()
    config.only = "growing only,pruning only"
    assert jobs_of("front_rivals", rivals, config, 2) == {
        "front_rivals": ["growing only", "pruning only"]
    }
    gradmax = studies["gradmax"]
    assert jobs_of("gradmax", gradmax, gradmax.get_config(), 2) == {"gradmax": ["gradmax"]}


def test_as_many_as_allowed_at_a_time(tmp_path):
    """Each process notes when it began and ended."""
    code = "import sys, time; print(time.time()); time.sleep(0.3); print(time.time())"
    commands = {}
    for number in range(5):
        out = tmp_path / str(number)
        commands[str(number)] = python(f"import sys; sys.stdout = open({str(out)!r}, 'w'); {code}")
    assert run_jobs(commands, 2, lambda: False) == []
    times = [tuple(map(float, (tmp_path / name).read_text().split())) for name in commands]
    most = max(sum(begun <= at < ended for begun, ended in times) for at, _ in times)
    assert most == 2


def test_those_that_fail_are_named_and_the_others_run():
    commands = {"a": python("raise SystemExit(3)"), "b": python(""), "c": python("1 / 0")}
    assert sorted(run_jobs(commands, 2, lambda: False)) == ["a", "c"]


def test_a_stop_ends_running_processes_and_begins_no_others(tmp_path):
    begun = time.monotonic()
    late = tmp_path / "late"
    commands = {
        "a": python("import time; time.sleep(60)"),
        "b": python(f"open({str(late)!r}, 'w')"),
    }
    assert run_jobs(commands, 1, lambda: time.monotonic() > begun + 0.5) == ["a"]
    assert time.monotonic() < begun + 20 and not late.exists()


def test_a_signal_interrupts_a_study_that_does_not_look_for_it():
    """`stop_signal` alone would only take note of it, and the study would run on."""

    def run(config, results):
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("not interrupted")

    with stop_signal() as stopped, pytest.raises(KeyboardInterrupt):
        study.to_results(run)(None, study.Options("", "", "", stopped))
