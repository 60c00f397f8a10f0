"""Comparisons of strategies on one space with the same seeds; one record per search."""

import pathlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from gpnas._files import PathLike, records_path
from gpnas.errors import UserError, check_choice
from gpnas.search._config import check_comparison
from gpnas.search._run import search_together
from gpnas.search.build import Search, build_search
from gpnas.search.record import append_missing, describe_search, summarize
from gpnas.train import progress


def make_config(
    config: ConfigDict, name: str, arms: Mapping[str, Mapping[str, Any]], seeds: int
) -> ConfigDict:
    """Builds the config of a comparison, for a config file.

    Args:
      config: Config of a search, as in configs/searches. It is changed in place: its strategy and
        seed are removed.
      name: Name of the study; its records go to results/NAME.
      arms: Sections and fields that differ from `config`, by name of the arm: `{"strategy":
        {"name": "lanas"}, "training": {"inherit": False}}`.
      seeds: Number of seeds, from 0.

    Returns:
      The config.
    """
    del config.strategy, config.seed
    config.study = name
    config.arms = ConfigDict(dict(arms), allow_dotted_keys=True, type_safe=False)
    config.seeds = seeds
    config.only = ""  # comma-separated arms; all if empty
    return config


def compare(config: ConfigDict, results: PathLike) -> pathlib.Path:
    """Runs the searches without a record; returns the path of the records.

    Args:
      config: As `make_config` makes it.
      results: Records are appended to results/STUDY/records.jsonl.

    Raises:
      UserError: If any arm or setting is invalid; nothing was searched then.
      TooManyFailures: As `search_together`; records of finished searches are kept.
    """
    plans(config)  # validates before anything is written
    path = records_path(results, config.study)
    searches = [one for seed in range(config.seeds) for one in _settings(config, seed)]
    with progress(len(searches), config.study) as show:

        def run(arm: str, settings: dict[str, Any]) -> dict[str, Any]:
            record = _record(arm, settings)
            show(searches.index((arm, settings)) + 1, f"{arm}, seed {settings['seed']}")
            return record

        append_missing(path, searches, run)
    return path


def plans(config: ConfigDict) -> dict[str, Search]:
    """Builds the search of each arm, with seed 0.

    Args:
      config: As `make_config` makes it.

    Raises:
      UserError: If any field of the config or of an arm is invalid.
    """
    check_comparison(config)
    if config.seeds < 1:
        raise UserError("seeds", config.seeds, "1 or more")
    records_path("", config.study)
    with tempfile.TemporaryDirectory() as folder:
        return {
            arm: build_search(settings, pathlib.Path(folder))
            for arm, settings in _settings(config, seed=0)
        }


def _record(arm: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Runs one search and returns its record; weights are not kept."""
    record, begun = describe_search(settings, arm), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        plan = build_search(settings, pathlib.Path(folder))
        history = search_together(
            plan.propose,
            plan.evaluate,
            plan.evaluations,
            plan.enough,
            plan.together,
            plan.seed,
            failures=plan.failures,
        )
    wall = round(time.perf_counter() - begun, 3)
    return record | summarize(history, plan) | {"wall_s": wall}


def _settings(config: ConfigDict, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields `(arm, settings of its search)` of the selected arms."""
    everything = config.to_dict()
    arms = everything.pop("arms")
    del everything["seeds"]
    only = everything.pop("only")
    for arm in [one.strip() for one in only.split(",") if one.strip()] or arms:
        check_choice("only", arm, arms)
        own = {
            section: {**everything.get(section, {}), **changed}
            for section, changed in arms[arm].items()
        }
        yield arm, everything | own | {"seed": seed}
