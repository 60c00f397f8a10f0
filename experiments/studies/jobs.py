"""Commands that run at the same time, each as a process."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

_POLL = 0.1  # seconds


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
