"""From the settings of a config to a search, with every mistake told in one line."""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from gpnas import plugins
from gpnas.errors import UserError
from gpnas.search.history import Propose
from gpnas.search.run import Evaluate
from gpnas.search.strategies import STRATEGIES
from gpnas.search.table import TABLES, check_metric, load_table

_GIVEN = ("space", "metric", "objectives")  # by the search, not by the strategy's settings


class Search(NamedTuple):
    """What to search, and how.

    Attributes:
      propose: The strategy.
      evaluate: `(architecture, budget) → metrics`.
      objectives: What is minimised.
      evaluations: Different ones to make.
      seed: Of all randomness.
    """

    propose: Propose
    evaluate: Evaluate
    objectives: tuple[str, ...]
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
    objectives = tuple(settings["objectives"])
    for name in objectives:
        check_metric(table, "objectives", name)
    if not objectives or len(set(objectives)) < len(objectives):
        raise UserError("objectives", objectives, f"one or more, each once: {list(table.metrics)}")
    propose = _strategy(table.space, objectives, settings["strategy"])
    return Search(propose, table.look_up, objectives, settings["evaluations"], settings["seed"])


def _strategy(space: Any, objectives: tuple[str, ...], settings: Mapping[str, Any]) -> Propose:
    own = dict(settings)
    name = own.pop("name", None)
    make = plugins.find("strategy.name", str(name), STRATEGIES)
    parameters = inspect.signature(make).parameters
    allowed = [field for field in parameters if field not in _GIVEN]
    for field in own:
        if field not in allowed:
            raise UserError(f"strategy.{field}", own[field], f"fields of {name}: {allowed}")
    for field in allowed:
        if field not in own and parameters[field].default is inspect.Parameter.empty:
            raise UserError(f"strategy.{field}", None, f"a value, which {name} needs")
    if "objectives" in parameters:
        return make(space, objectives=objectives, **own)
    if "metric" not in parameters:
        return make(space, **own)
    if len(objectives) > 1:
        raise UserError("objectives", objectives, f"one for {name}; nsga2 takes several")
    return make(space, metric=objectives[0], **own)
