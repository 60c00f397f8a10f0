"""Early stopping on a table: many networks for a few epochs, the best for all of them.

The clock is simulated (`gpnas.search.simulate`), so results are deterministic. The table has the
error after few and after all epochs; a trial costs as many epochs as its budget.
"""

import json
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments.studies.early_stopping.config import get_config
from experiments.studies.searches import check_metric
from gpnas.errors import UserError
from gpnas.records import records_path
from gpnas.search import (
    BenchmarkTable,
    Evaluate,
    Propose,
    Trial,
    load_table,
    simulate,
)
from gpnas.search.build import build_strategy
from gpnas.search.record import append_missing, describe_search
from gpnas.search.strategies import check_budgets
from gpnas.sections import check_section

_ERROR = "error"  # the objective: another column of the table at each budget


def early_stopping(config: ConfigDict, results: str | pathlib.Path) -> pathlib.Path:
    """Runs the missing searches; returns the path of their records.

    Args:
      config: Config from config.py of the study.
      results: Records are appended to results/STUDY/records.jsonl; they are those of searches,
        except that "evaluation" counts the epochs of all workers, including idle time.

    Raises:
      UserError: If any setting is invalid; no search has started then.
    """
    table, proposes = plan(config)
    path = records_path(results, config.study)
    searches = (one for seed in range(config.seeds) for one in _settings(config, seed))
    append_missing(path, searches, lambda arm, own: _one(table, proposes[arm], arm, own))
    return path


def by_budget(table: BenchmarkTable, columns: Mapping[int, str]) -> Evaluate:
    """Evaluates a trial by the column of its budget; without a budget, by the largest one's.

    Args:
      table: The table.
      columns: Metric by budget.
    """

    def evaluate(trial: Trial) -> dict[str, float]:
        found = table.look_up(trial.architecture)
        return {_ERROR: found[columns[trial.budget or max(columns)]]}

    return evaluate


def _one(
    table: BenchmarkTable, propose: Propose, arm: str, settings: dict[str, Any]
) -> dict[str, Any]:
    """Returns the record of one search."""
    columns = dict(zip(settings["budgets"], settings["columns"], strict=True))
    largest, workers = max(columns), settings["workers"]
    metric, begun = columns[largest], time.perf_counter()
    ended = simulate(
        propose, by_budget(table, columns), lambda trial: float(trial.budget or largest),
        workers, settings["epochs"] / workers, settings["seed"],
    )  # fmt: skip
    course: list[dict[str, Any]] = []
    lowest, best = float("inf"), None
    for now, trial in ended:
        if trial.metrics is None:  # it failed
            continue
        error = trial.metrics[_ERROR]
        if trial.budget in (0, largest) and error < lowest:
            lowest, best = error, trial
            metrics = {metric: error}
            entry = {"evaluation": now * workers, "number": trial.number, "metrics": metrics}
            course.append(entry)
    front = [course[-1] | {"architecture": best.architecture}] if best else []
    return describe_search(settings, arm) | {
        "unit": "epochs",
        "evaluations": settings["epochs"],
        "trials": len(ended),
        "full_trials": sum(trial.budget in (0, largest) for _, trial in ended),
        "course": course,
        "front": front,
        "wall_s": round(time.perf_counter() - begun, 3),
    }


def plan(config: ConfigDict) -> tuple[BenchmarkTable, dict[str, Propose]]:
    """Returns the table, and the strategy of each arm.

    Raises:
      UserError: If any setting is invalid.
    """
    default = get_config()
    default.arms = ConfigDict()
    source = "experiments/studies/early_stopping/config.py"
    check_section(config, default, "", ("arms",), (), source)
    for arm, own in config.arms.items():
        check_section(own, {"name": ""}, f"arms.{arm}", (f"arms.{arm}",), (), source)
    check_budgets(config.budgets, "budgets")
    for field, least in (("seeds", 1), ("workers", 1), ("epochs", max(config.budgets))):
        if config[field] < least:
            raise UserError(field, config[field], f"{least} or more")
    if len(config.columns) != len(config.budgets):
        raise UserError("columns", config.columns, "one metric of the table for each budget")
    records_path("", config.study)
    table = load_table(config.space)
    for name in config.columns:
        check_metric(table, "columns", name)
    return table, {
        arm: build_strategy(table.space, (_ERROR,), settings["strategy"])
        for arm, settings in _settings(config, 0)
    }


def _settings(config: ConfigDict, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields `(arm, its search)`, with lists instead of tuples, as in JSON."""
    everything = json.loads(json.dumps(config.to_dict()))
    arms = everything.pop("arms")
    del everything["seeds"]
    everything |= {"objectives": everything["columns"][-1:], "reports": []}
    for arm, own in arms.items():
        budgets = {} if own["name"] == "random" else {"budgets": everything["budgets"]}
        yield arm, everything | {"strategy": own | budgets, "seed": seed}
