"""Commands that run at the same time, each as a process."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from ml_collections import ConfigDict

from experiments.studies.study import Study

_POLL = 0.1  # seconds


def jobs_of(name: str, study: Study, config: ConfigDict, most: int) -> dict[str, list[str]]:
    """Divides a study into jobs: one per row, or at most `most` for the arms of another sweep.

    Args:
      name: Name of the study.
      study: The study.
      config: Its config; `only` selects rows or arms.
      most: Number of processes at a time.

    Returns:
      Names for `experiments/reproduce.py` (studies, rows, or arms as STUDY/ARM) by job.
    """
    only = [arm for arm in config.get("only", "").split(",") if arm]
    if "densities" not in config:  # not a sweep
        return {name: only or [name]}
    if study.rows:
        return {row: [row] for row in study.rows if not only or row in only}
    arms = [f"{name}/{arm}" for arm in only or config.arms]
    count = min(most, len(arms))
    return {f"{name}, {i + 1} of {count}": arms[i::count] for i in range(count)}


def run_jobs(
    commands: Mapping[str, Sequence[str]], most: int, stopped: Callable[[], bool]
) -> list[str]:
    """Runs commands as processes, in their order, several at a time.

    Args:
      commands: Arguments of each process, by its name.
      most: Number of processes at a time.
      stopped: `() → whether a stop was requested`: running processes then get SIGTERM, and no
        others begin.

    Returns:
      Names of the commands whose exit code was not 0, in the order of their ends.
    """
    waiting, failed = list(commands), list[str]()
    running: dict[str, subprocess.Popen] = {}
    asked = False
    try:
        while running or (waiting and not stopped()):
            while waiting and len(running) < most and not stopped():
                name = waiting.pop(0)
                running[name] = subprocess.Popen(commands[name])
            if stopped() and not asked:
                asked = True
                for process in running.values():
                    process.terminate()
            time.sleep(_POLL)
            ended = [name for name, process in running.items() if process.poll() is not None]
            failed += [name for name in ended if running.pop(name).returncode != 0]
    finally:  # none are left, unless something was raised
        for process in running.values():
            process.terminate()
    return failed
