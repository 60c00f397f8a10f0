"""A full disk, non-finite losses, and invalid configs."""

import json
import math
import pathlib
import random
from typing import Any

from ml_collections import ConfigDict

from experiments.faults.commands import Expected, each, lines, resumes, run, states
from experiments.faults.fault import Fault, Options
from gpnas import data
from gpnas.errors import UserError
from gpnas.train import base, check_config, make_plan

_FULL, _DIVERGED = 74, 3
_EXPLODE = "experiments.faults.small:explode"


def disk_full(options: Options) -> Fault:
    """Runs each command with limited file sizes, and then with enough space."""
    rng, found = random.Random(options.seed), []
    for expected, folder in each(options, "full"):
        found.append({"command": expected.kind} | without_space(expected, folder, rng))
    value = sum(one["told"] and one["same"] for one in found)
    target = f"{len(found)} of {len(found)} report it in one line, and resume once there is space"
    return Fault("disk_full", value, target, value == len(found), {"runs": found})


def without_space(expected: Expected, folder: pathlib.Path, rng: random.Random) -> dict[str, Any]:
    """Runs a command with a random limit on file sizes, and then without one."""
    size = int(2 ** rng.uniform(6, 13))
    ended = run(expected.kind, folder, file_size=size)
    return {
        "bytes": size,
        "code": ended.code,
        "told": ended.code == _FULL and ended.reports("what was saved before is whole"),
        "same": resumes(expected, folder),
    }


def non_finite(options: Options) -> Fault:
    """Makes the loss of each command diverge during a run; saved files must stay complete."""
    found = []
    for kind in options.commands:
        field = "config.arms.dense.optimizer" if kind == "sweep" else "config.optimizer"
        folder = options.folder / f"{kind}-diverged"
        ended = run(kind, folder, f"--{field}.schedule={_EXPLODE}")
        found.append({
            "command": kind,
            "code": ended.code,
            "told": ended.code == _DIVERGED
            and any(ended.reports(f"is {value} at step") for value in ("nan", "inf")),
            "written": lines(folder),
            "finite": all(map(_is_finite, folder.rglob("metrics.jsonl"))),
            "unfinished": len(states(folder)) == (2 if kind == "sweep" else 0),
        })  # fmt: skip
    passed = [
        one["told"] and one["written"] and one["finite"] and one["unfinished"] for one in found
    ]
    target = f"{len(found)} of {len(found)} end in one line, with finite numbers in every file"
    return Fault("non_finite", sum(map(bool, passed)), target, all(passed), {"commands": found})


def _is_finite(path: pathlib.Path) -> bool:
    for line in path.read_text().splitlines():
        numbers = [value for value in json.loads(line).values() if isinstance(value, float)]
        if not all(map(math.isfinite, numbers)):
            return False
    return True


ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2, 10**19, -(10**19), 1e300, -0.5, 0.5, float("nan"), float("inf"), "",
    "x" * 5000, "größe", "os:system", "json:loads", ":", "a:b:c", (), (1, "a"), (-1,), [], [3],
    {"a": 1}, "1%", "auto", "200%", "two\nlines", b"x",
)  # fmt: skip
METHODS = (
    {"name": "gmp", "density": 0.1}, {"name": "rigl", "density": 0.2}, {"name": "dense"},
    {"name": "development", "density": 0.2}, {"name": "l0"}, {"name": "set", "density": 0.1},
)  # fmt: skip


def bad_configs(options: Options) -> Fault:
    """Puts odd values, wrong names and gaps into configs: each is refused in one line or valid.

    A random value may be valid, so some configs give a plan.
    """
    digits = data.load("digits")
    found = [outcome(wrong_config(options.seed + i), digits) for i in range(options.repeats)]
    counts = {kind: found.count(kind) for kind in sorted(set(found))}
    value = counts.get("refused", 0) + counts.get("plan", 0)
    target = f"{options.repeats} of {options.repeats} are refused in one line, or a plan"
    return Fault("bad_configs", value, target, value == options.repeats, counts)


def wrong_config(seed: int) -> ConfigDict:
    """Returns a config in which one to three fields have odd values or names, or are missing."""
    draw = random.Random(seed)
    config = base(**draw.choice(METHODS))
    config.data.name, config.model.widths = "digits", (8,)
    config = ConfigDict(config.to_dict())
    for _ in range(draw.randint(1, 3)):
        section = draw.choice(("", "train", "model", "method", "optimizer", "gates"))
        holder = config.get(section) if section else config
        if not isinstance(holder, ConfigDict):
            continue
        name = draw.choice(sorted(holder) or ["new"])
        if name in ("data", "tensorboard"):
            continue
        with holder.ignore_type():
            how = draw.random()
            if how < 0.08 and name in holder:
                del holder[name]
            else:
                own = [odd for odd in ODD if type(odd) is type(holder.get(name))]
                holder["odd" if how > 0.92 else name] = draw.choice(
                    own if own and how < 0.7 else ODD
                )
    return config


def outcome(config: ConfigDict, digits: data.Dataset) -> str:
    """Returns the outcome of a config: "refused" in one line, a "plan", or an error."""
    try:
        check_config(config)
        make_plan(config, digits)
    except UserError as error:
        said = str(error)
        return "refused" if "\n" not in said and len(said) <= 1000 else said
    except Exception as error:  # any other exception is a failure
        return f"{type(error).__name__}: {error}"[:200]
    return "plan"
