"""A run in two processes with four devices each, one of which is lost."""

import functools
import pathlib
import random
import socket
import subprocess
import time
from typing import Any

from experiments.faults.commands import Ended, end, has_lines, lines, start, states, wait_until
from experiments.faults.fault import Fault, Options

_LOST = 10  # seconds without a heartbeat after which a process counts as lost
_LONGEST = 60.0  # seconds within which the other process must end
_DEVICES = {
    "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "-1",  # as if it were not set
}


def lost_process(options: Options) -> Fault:
    """Kills one of two processes at a random moment, each in turn, and restarts both."""
    rng, found = random.Random(options.seed), []
    whole = options.folder / "whole"
    assert [ended.code for ended in together(whole)] == [0, 0]
    for number in range(options.repeats):
        folder = options.folder / f"lost-{number}"
        found.append(lost(folder, number % 2, rng.randint(1, lines(whole) // 2), states(whole)))
    value = sum(one["told"] and one["same"] and one["seconds"] <= _LONGEST for one in found)
    target = (
        f"{len(found)} of {len(found)}: the other leaves within {_LONGEST:g} s, in one line,"
        " and both resume bit-identically"
    )
    return Fault("lost_process", value, target, value == len(found), {"losses": found})


def together(folder: pathlib.Path) -> list[Ended]:
    """Runs both processes to their ends."""
    return [end(process) for process in _start(folder)]


def _start(folder: pathlib.Path) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    return [
        start(
            "train", folder, f"--coordinator={place}", "--processes=2", f"--process={i}",
            f"--lost_seconds={_LOST}", environment=_DEVICES,
        )
        for i in range(2)
    ]  # fmt: skip


def lost(folder: pathlib.Path, victim: int, least: int, expected: dict[str, str]) -> dict[str, Any]:
    """Kills one of two processes after `least` lines, then restarts both."""
    both = _start(folder)
    wait_until(both[victim], functools.partial(has_lines, folder, least))
    both[victim].kill()
    begun = time.monotonic()
    survivor = [end(process) for process in both][1 - victim]
    seconds = round(time.monotonic() - begun, 1)
    again = together(folder)
    return {
        "process": victim,
        "code": survivor.code,
        "seconds": seconds,
        "told": survivor.code == 75 and f"process {victim} was lost" in survivor.said[-1],
        "same": [one.code for one in again] == [0, 0] and states(folder) == expected,
    }
