"""Processes side by side: how many, what fails, and what a stop does."""

import sys
import time

from experiments.studies.jobs import run_jobs


def python(code):
    return [sys.executable, "-c", code]


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
