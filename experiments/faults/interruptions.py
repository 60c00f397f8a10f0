"""Processes that are killed, asked to stop, or started twice; they must resume bit-identically."""

import functools
import pathlib
import random
import signal
import time
from typing import Any

from experiments.faults.commands import (
    Expected,
    each,
    end,
    has_lines,
    lines,
    resumes,
    run,
    saving,
    start,
    states,
    uninterrupted,
    wait_until,
)
from experiments.faults.fault import Fault, Options

_LONGEST = 10.0  # seconds within which a run must stop on request
_STOPPED = 75
_ATTEMPTS = 10  # most runs per kill


def sigkill(options: Options) -> Fault:
    """Kills each command at random moments, half of them during a save, and restarts it."""
    rng, found, value = random.Random(options.seed), [], 0
    for i, expected in enumerate(uninterrupted(options.folder, options.commands)):
        share = len(range(i, options.repeats, len(options.commands)))
        hit = same = during = 0
        for attempt in range(_ATTEMPTS * share):
            if hit >= share:
                break
            folder = options.folder / f"{expected.kind}-killed-{attempt}"
            kills = killed(expected, folder, min(share - hit, 4), rng)
            whole = states(folder) == expected.states
            hit, same = hit + len(kills), same + whole * len(kills)
            during += sum(kills)
        found.append({"command": expected.kind, "kills": hit, "same": same, "saving": during})
        value += same
    target = f"{options.repeats} of {options.repeats} resume bit-identically"
    return Fault("sigkill", value, target, value == options.repeats, {"commands": found})


def killed(expected: Expected, folder: pathlib.Path, kills: int, rng: random.Random) -> list[bool]:
    """Kills a command several times, restarts it each time, and finally lets it end.

    Returns:
      For each kill before the end, whether a checkpoint was being written.
    """
    found = []
    for _ in range(kills):
        process = start(expected.kind, folder)
        if rng.random() < 0.5:
            delay = rng.uniform(0, 0.01)
            running = wait_until(process, functools.partial(saving, folder))
        else:
            delay = rng.uniform(0, 0.05)
            at = lines(folder) + rng.randint(1, max(expected.lines // 4, 1))
            running = wait_until(process, functools.partial(has_lines, folder, at))
        time.sleep(delay)
        process.kill()
        ended = end(process)
        if running and ended.code == -signal.SIGKILL:
            found.append(saving(folder))
        else:
            assert ended.code == 0, ended.said
            return found
    ended = run(expected.kind, folder)
    assert ended.code == 0, ended.said
    return found


def sigterm(options: Options) -> Fault:
    """Asks each command to stop at a random moment, and restarts it."""
    rng, found = random.Random(options.seed), []
    for expected, folder in each(options, "stopped"):
        found.append({"command": expected.kind} | stopped(expected, folder, rng))
    passed = [one["same"] and one["seconds"] <= _LONGEST and one["told"] for one in found]
    value = max(one["seconds"] for one in found)
    target = f"every command leaves within {_LONGEST:g} s, in one line, and resumes"
    return Fault("sigterm", value, target, all(passed), {"stops": found})


def stopped(expected: Expected, folder: pathlib.Path, rng: random.Random) -> dict[str, Any]:
    """Asks a command to stop; returns seconds to its end, its report, and whether it resumed."""
    process = start(expected.kind, folder)
    at = rng.randint(1, max(expected.lines // 4, 1))
    wait_until(process, functools.partial(has_lines, folder, at))
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    ended = end(process)
    seconds = round(time.monotonic() - begun, 3)
    return {
        "seconds": seconds,
        "code": ended.code,
        "told": ended.code == _STOPPED and ended.reports("stopped"),
        "same": resumes(expected, folder),
    }


def same_bits(options: Options) -> Fault:
    """Trains a convolutional network repeatedly, every second time with a kill in between."""
    rng = random.Random(options.seed)
    [expected] = uninterrupted(options.folder, ("convolutions",))
    found, value = [], 0
    for number in range(options.repeats):
        for attempt in range(_ATTEMPTS):  # a run may end before its kill
            folder = options.folder / f"{number}-{attempt}"
            kills = len(killed(expected, folder, number % 2, rng))
            found.append({"kills": kills, "same": states(folder) == expected.states})
            if kills == number % 2:
                value += found[-1]["same"]
                break
    target = f"{options.repeats} of {options.repeats} end bit-identically, train.deterministic"
    holds = value == options.repeats and all(one["same"] for one in found)
    return Fault("same_bits", value, target, holds, {"runs": found})


def same_workdir(options: Options) -> Fault:
    """Starts each command again in the folder of a running one."""
    found, value = [], 0
    for expected in uninterrupted(options.folder, options.commands):
        folder = options.folder / f"{expected.kind}-twice"
        first = start(expected.kind, folder)
        wait_until(first, functools.partial(has_lines, folder, 1))
        first.send_signal(signal.SIGSTOP)  # keeps its lock on the folder, regardless of its speed
        second = run(expected.kind, folder)
        first.send_signal(signal.SIGCONT)
        ended = end(first)
        refused = second.code == 2 and second.reports("no other run is using")
        same = ended.code == 0 and states(folder) == expected.states
        found.append({"command": expected.kind, "refused": refused, "same": same})
        value += refused and same
    target = f"{len(found)} of {len(found)} second processes are refused, the first ones go on"
    return Fault("same_workdir", value, target, value == len(found), {"commands": found})
