"""From the settings of a config to a search, with every mistake told in one line."""

import inspect
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from gpnas import plugins
from gpnas.errors import UserError
from gpnas.search.history import Propose
from gpnas.search.run import Evaluate
from gpnas.search.space import Space
from gpnas.search.strategies import STRATEGIES
from gpnas.search.table import TABLES, check_metric, load_table

_RANGES: dict[str, plugins.Range] = {
    name: (holds, allowed)
    for names, holds, allowed in (
        (
            "population sample first bulk batch leaf draws parents children candidates features",
            lambda x: x >= 1,
            "1 or more",
        ),
        ("height", lambda x: 1 <= x <= 12, "1 to 12"),  # a tree has 2**height - 1 nodes
        ("exploration", lambda x: x >= 0, "0 or more"),
        ("ridge", lambda x: x > 0, "above 0"),  # one-hot codes alone make singular systems
        ("front", lambda x: 0 <= x <= 1, "a fraction in [0, 1]"),
        ("reduction", lambda x: x >= 2, "2 or more"),
        ("budgets", lambda x: _rising(x), "whole numbers above 0, each larger than the one before"),
    )
    for name in names.split()
}
_GIVEN = ("space", "metric", "objectives")  # by the search, not by the strategy's settings


class Search(NamedTuple):
    """What to search, and how.

    Attributes:
      propose: The strategy.
      evaluate: `trial → metrics`.
      objectives: What is minimised.
      reports: Metrics that are told of what was found, and have no say in the search.
      evaluations: Different ones to make.
      seed: Of all randomness.
    """

    propose: Propose
    evaluate: Evaluate
    objectives: tuple[str, ...]
    reports: tuple[str, ...]
    evaluations: int
    seed: int


def build_search(settings: Mapping[str, Any]) -> Search:
    """A search from the fields of `configs/searches/nas_bench_201.py`.

    Raises:
      UserError: For a space, a strategy, an objective or a number that cannot be.
    """
    for field, least in (("evaluations", 1), ("seed", 0), ("columns", 0)):
        number = settings[field]
        if not isinstance(number, int) or number < least:
            raise UserError(field, number, f"a whole number, {least} or more")
    kind, _, path = settings["space"].partition(":")
    if settings["space"] not in TABLES and (kind != "table" or not path):
        raise UserError("space", settings["space"], f"{', '.join(TABLES)}, or table:FILE")
    table = load_table(path or kind, settings["columns"])
    objectives, reports = tuple(settings["objectives"]), tuple(settings["reports"])
    for field in ("objectives", "reports"):
        for name in settings[field]:
            check_metric(table, field, name)
    if not objectives or len(set(objectives)) < len(objectives):
        raise UserError("objectives", objectives, f"one or more, each once: {list(table.metrics)}")
    propose = build_strategy(table.space, objectives, settings["strategy"])
    most = len(table.rows) * len(settings["strategy"].get("budgets", (0,)))
    if settings["evaluations"] > most:
        raise UserError("evaluations", settings["evaluations"], f"at most {most}, what there are")
    return Search(
        propose, table.evaluate, objectives, reports, settings["evaluations"], settings["seed"]
    )


def build_strategy(space: Space, objectives: Sequence[str], settings: Mapping[str, Any]) -> Propose:
    """A strategy from its name and its own fields.

    Raises:
      UserError: For a name or a field that there is not, a field's value that cannot be, or more
        objectives than it takes.
    """
    own = dict(settings)
    name = str(own.pop("name", None))
    make = plugins.find("strategy.name", name, STRATEGIES)
    plugins.check_fields("strategy", name, make, own, _GIVEN)
    parameters = inspect.signature(make).parameters
    for field, value in own.items():
        own[field] = plugins.check_value(f"strategy.{field}", value, parameters[field], _RANGES)
    if "objectives" in parameters:
        return make(space, objectives=objectives, **own)
    if "metric" not in parameters:
        return make(space, **own)
    if len(objectives) > 1:
        raise UserError(
            "objectives",
            objectives,
            f"one for {name}; nsga2, lemonade and bulk_and_cut take several",
        )
    return make(space, metric=objectives[0], **own)


def _rising(budgets: Any) -> bool:
    whole = isinstance(budgets, list | tuple) and all(type(x) is int for x in budgets)
    return whole and len(budgets) > 0 and all(a < b for a, b in pairwise((0, *budgets)))
