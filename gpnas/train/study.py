"""A study: arms × densities × seeds, and the file of their records."""

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from absl import logging
from ml_collections import ConfigDict

from gpnas.errors import UserError
from gpnas.train.config import base
from gpnas.train.loop import load_data, train_lanes
from gpnas.train.plan import make_plan
from gpnas.train.workdir import append_line, read_lines

_SMALL = {"cpu": 20_000}  # weights up to which seeds train faster in lanes than one after the other
_SMALL_ELSEWHERE = 5_000_000


def study(name: str, arms: Mapping[str, ConfigDict], **fields: Any) -> ConfigDict:
    """The config of a study, for a file in configs/studies.

    Args:
      name: Of the study; its records go to results/NAME.
      arms: Config of each arm, by the arm's name.
      **fields: `densities` (those arms that have a `method.density` run at each), `seeds`, `lanes`
        ("auto", "on", "off": whether the seeds of a setting train as one vmapped program).
    """
    config = ConfigDict()
    config.study = name
    config.densities = tuple(fields.get("densities", (0.02,)))
    config.seeds = tuple(fields.get("seeds", (0, 1, 2, 3, 4)))
    config.lanes = fields.get("lanes", "auto")
    config.only = ""  # comma-separated arms; all if empty
    config.arms = ConfigDict(dict(arms), allow_dotted_keys=True)
    return config


def settings(config: ConfigDict) -> Iterator[tuple[str, list[ConfigDict]]]:
    """What a study consists of: `(name of a setting, its config for each seed)`.

    Raises:
      UserError: If there are no seeds or densities, or an arm is not known.
    """
    for field in ("densities", "seeds"):
        if not config[field]:
            raise UserError(field, tuple(config[field]), "one or more")
    only = [arm for arm in config.only.split(",") if arm] or list(config.arms)
    for arm in only:
        if arm not in config.arms:
            raise UserError("only", arm, ", ".join(config.arms))
        own = config.arms[arm]
        densities = config.densities if "density" in own.method else (None,)
        for density in densities:
            yield _setting(config, arm, own, density)


def _setting(
    config: ConfigDict, arm: str, own: ConfigDict, density: float | None
) -> tuple[str, list[ConfigDict]]:
    seeds = []
    for seed in config.seeds:
        one = base()
        one.update(own.copy_and_resolve_references())
        one.method = ConfigDict(own.method.to_dict())
        one.study, one.arm, one.seed, one.resume = config.study, arm, seed, True
        if density is not None:
            one.method.density = density
        seeds.append(one)
    return arm if density is None else f"{arm}-{density:g}", seeds


def run_study(config: ConfigDict, workdir: str, results: str) -> pathlib.Path:
    """Trains what is missing of a study, and returns the path of its records.

    Args:
      config: As `study` makes it.
      workdir: The runs' folders are made in workdir/STUDY.
      results: Records are appended to results/STUDY/records.jsonl.

    Raises:
      UserError, Diverged, Stopped: As `train`.
    """
    path = pathlib.Path(results) / config.study / "records.jsonl"
    done = {_identity(record["config"]) for record in read_lines(path)}
    data, images_of = None, None
    for name, seeds in settings(config):
        missing = [one for one in seeds if _identity(one.to_dict()) not in done]
        if not missing:
            continue
        if data is None or images_of != missing[0].data.to_dict():
            data, images_of = load_data(missing[0]), missing[0].data.to_dict()
        together = _in_lanes(config.lanes, make_plan(missing[0], data).expected["weights"])
        path.parent.mkdir(parents=True, exist_ok=True)
        for group in [missing] if together else [[one] for one in missing]:
            logging.info("%s, seeds %s", name, [one.seed for one in group])
            runs = [f"{name}-seed{one.seed}".replace(" ", "-") for one in group]
            folders = [pathlib.Path(workdir) / config.study / run for run in runs]
            for record in train_lanes(group, folders, data):
                append_line(path, record)
        jax.clear_caches()  # a program a setting: a long study must not keep them all
    return path


def _in_lanes(choice: str, weights: float) -> bool:
    if choice not in ("auto", "on", "off"):
        raise UserError("lanes", choice, "auto, on, off")
    small = weights <= _SMALL.get(jax.default_backend(), _SMALL_ELSEWHERE)
    return choice == "on" or (choice == "auto" and small)


def _identity(config: Mapping[str, Any]) -> str:
    return json.dumps(dict(config) | {"resume": None}, sort_keys=True)
