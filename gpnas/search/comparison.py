"""Strategies beside each other: each on the same space, by the same seeds, one record a search."""

import json
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from gpnas.errors import UserError
from gpnas.search.build import build_search
from gpnas.search.record import describe_search, what_came_of_it
from gpnas.search.run import search
from gpnas.train.workdir import append_line, read_lines


def comparison(
    config: ConfigDict, name: str, strategies: Mapping[str, Any], seeds: int
) -> ConfigDict:
    """The config of a comparison, for a file in configs/searches/comparisons.

    Args:
      config: A search, as configs/searches/nas_bench_201.py has it; its strategy makes way.
      name: Of the study; its records go to results/NAME.
      strategies: Fields of each strategy, by the arm's name.
      seeds: How many, from 0.
    """
    del config.strategy, config.seed
    config.study = name
    config.arms = ConfigDict(dict(strategies), allow_dotted_keys=True, type_safe=False)
    config.seeds = seeds
    config.only = ""  # comma-separated arms; all if empty
    return config


def compare(config: ConfigDict, results: str) -> pathlib.Path:
    """Makes the searches that are missing, and returns the path of their records.

    Args:
      config: As `comparison` makes it.
      results: Records are appended to results/STUDY/records.jsonl.

    Raises:
      UserError: If an arm or a setting cannot be; nothing was searched then.
    """
    path = pathlib.Path(results) / config.study / "records.jsonl"
    done = {_key(record["config"]) for record in read_lines(path)}
    plans = {arm: build_search(settings) for arm, settings in _settings(config, seed=0)}
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(config.seeds):
        for arm, settings in _settings(config, seed):
            if _key(settings) in done:
                continue
            plan = plans[arm]._replace(seed=seed)
            record = describe_search(settings, arm)
            begun = time.perf_counter()
            history = search(plan.propose, plan.evaluate, plan.evaluations, seed)
            wall = round(time.perf_counter() - begun, 3)
            append_line(path, record | what_came_of_it(history, plan) | {"wall_s": wall})
    return path


def _settings(config: ConfigDict, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """`(arm, its search)` of those that are asked for."""
    everything = config.to_dict()
    arms = everything.pop("arms")
    del everything["seeds"]
    only = everything.pop("only")
    for arm in [one.strip() for one in only.split(",") if one.strip()] or arms:
        if arm not in arms:
            raise UserError("only", arm, ", ".join(arms))
        yield arm, everything | {"strategy": arms[arm], "seed": seed}


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
