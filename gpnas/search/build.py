"""Builds searches from configs; an invalid setting is a one-line error."""

import functools
import inspect
import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from gpnas import plugins
from gpnas._files import PathLike, tuples
from gpnas.data import Dataset
from gpnas.errors import UserError, check_choice, one_of
from gpnas.search._config import check_search, check_trained, is_table
from gpnas.search._history import History, Proposal, Propose, minimised
from gpnas.search._jobs import Recipe
from gpnas.search._outcome import FAILURES
from gpnas.search._run import EvaluateAll, each, randomness
from gpnas.search._space import Space
from gpnas.search._table import TABLES, digests, load_table
from gpnas.search._task import DEFAULT, Training, build_training, check_data
from gpnas.search.spaces import SPACES
from gpnas.search.strategies import STRATEGIES
from gpnas.search.training import total_steps, trained
from gpnas.sections import check_integers
from gpnas.train import load_data

_GIVEN = ("space", "metric", "objectives")  # by the search, not by the `strategy` section
_FOR_A_SPACE = ("image", "classes")


class Search(NamedTuple):
    """A search that is ready to run.

    Attributes:
      propose: The strategy.
      evaluate: `trials → metrics` of each.
      objectives: Names of the objectives.
      reports: Metrics that are only reported.
      evaluations: Maximum number of distinct architectures to evaluate.
      seed: Seed of all random numbers.
      enough: `history → whether to end early`.
      together: Number of candidates that one machine evaluates together.
      failures: Number of consecutive failures after which the search ends.
      digests: SHA-256 of the inputs by name: columns of a table, or the data set.
      maximised: Metrics to be maximised; all others are minimised.
    """

    propose: Propose
    evaluate: EvaluateAll
    objectives: tuple[str, ...]
    reports: tuple[str, ...]
    evaluations: int
    seed: int
    enough: Callable[[History], bool] = lambda history: False
    together: int = 1
    failures: int = FAILURES
    digests: Mapping[str, str] = MappingProxyType({})
    maximised: tuple[str, ...] = ()


def build_search(settings: Mapping[str, Any], folder: PathLike | None = None) -> Search:
    """Builds a search from the fields of a config in `configs/searches`.

    Args:
      settings: As in `configs/searches/nas_bench_201.py` (`space` is a table) or
        `configs/searches/lemonade.py` (networks are trained).
      folder: Folder for the weights of trained networks; not needed for a table.

    Raises:
      UserError: If any field is invalid.
    """
    check_search(settings)
    numbers = {"failures": FAILURES, **settings}
    check_integers(numbers, {"evaluations": 1, "seed": 0, "failures": 1})
    if is_table(settings["space"]):
        return _on_a_table(settings, settings["space"].removeprefix("table:"))
    return _with_training(settings, folder)


def _on_a_table(settings: Mapping[str, Any], name: str) -> Search:
    check_integers(settings, {"columns": 0})
    table = load_table(name, settings["columns"])
    objectives, reports = _metrics(settings, table.metrics, table.metrics)
    propose = build_strategy(table.space, objectives, settings["strategy"])
    most = len(table.rows) * len(settings["strategy"].get("budgets", (0,)))
    if settings["evaluations"] > most:
        raise UserError(
            "evaluations", settings["evaluations"], f"at most {most}, those of the table"
        )
    return Search(
        propose, each(table.evaluate), objectives, reports, settings["evaluations"],
        settings["seed"], failures=settings.get("failures", FAILURES), digests=digests(table),
    )  # fmt: skip


def _with_training(settings: Mapping[str, Any], folder: PathLike | None) -> Search:
    known = {**dict.fromkeys(TABLES), **SPACES, "table:FILE": None}
    make = plugins.find("space", str(settings["space"]), known, returns=Space)
    if make is None:
        raise UserError("space", settings["space"], one_of(settings["space"], known))
    check_trained(settings)
    check_integers(settings, {"steps": 0, "together": 1})
    if augment := settings["data"].get("augment"):
        raise UserError("data.augment", augment, "'': a search trains without augmentation")
    network, recipe = settings["network"], settings["training"]
    fields = plugins.check_settings("network", settings["space"], make, network, _FOR_A_SPACE)
    recipe = Recipe(**plugins.check_settings("training", "a search", Recipe, recipe, ()))
    task = dict(settings.get("task", DEFAULT))
    data = load_data(ConfigDict({"data": dict(settings["data"]), "task": task}))
    check_data(task["name"], data)
    if recipe.batch_size > len(data.train):
        raise UserError("training.batch_size", recipe.batch_size, f"1 to {len(data.train)}")
    space = _built_space(settings, make, data, fields)
    first, costs = _first(settings, space)
    assert space.build is not None
    training = build_training(settings, data, functools.partial(space.build, first))
    _check_distillation(recipe, space, training)
    validation, test = training.names
    measured = (validation, test, "steps", "latency_ms")
    objectives, reports = _metrics(
        settings, (validation, *costs, "latency_ms"), (*costs, *measured)
    )
    maximised = training.names if training.metric.better == "higher" else ()
    if len(objectives) > 1 and set(maximised) & set(objectives):
        allowed = f"{validation} alone: higher values are better, and several are all minimised"
        raise UserError("objectives", objectives, allowed)
    propose = build_strategy(space, objectives, settings["strategy"])
    if folder is None:
        raise UserError("workdir", None, "the folder of the search, in which its weights are")
    evaluate = trained(
        space, data, recipe, folder, {*objectives, *reports}, settings["seed"], training
    )
    limit = settings["steps"] or math.inf
    return Search(
        lambda history, rng: propose(minimised(history, maximised), rng),
        evaluate, objectives, reports, settings["evaluations"], settings["seed"],
        lambda history: total_steps(history) >= limit, settings["together"],
        settings.get("failures", FAILURES), {"data": data.sha256}, maximised,
    )  # fmt: skip


def _built_space(
    settings: Mapping[str, Any], make: Callable[..., Any], data: Dataset, fields: Mapping[str, Any]
) -> Space:
    """Builds the space and checks that its networks can be trained."""
    name = settings["space"]
    build = functools.partial(make, data.input_shape, data.num_classes, **fields)
    space = plugins.call_user("space", name, "a space that can be made", build)
    if not isinstance(space, Space) or space.build is None:
        raise UserError("space", name, f"a Space whose `build` makes networks, not {space!r}")
    return space


def _check_distillation(recipe: Recipe, space: Space, training: Training) -> None:
    """Checks that distillation is used only if targets may be class probabilities."""
    inherits = recipe.inherit and space.inherit is not None
    if inherits and recipe.distil_steps and not training.soft:
        allowed = "0, for a task other than classification"
        raise UserError("training.distil_steps", recipe.distil_steps, allowed)


def _first(settings: Mapping[str, Any], space: Space) -> tuple[Any, list[str]]:
    """Returns an architecture of a space and the names of its costs."""

    def price() -> tuple[Any, list[str]]:
        architecture = space.sample(randomness(settings["seed"], 0))
        kept = tuples(json.loads(json.dumps(architecture)))  # as read back from a database
        if not isinstance(kept, Hashable) or kept != architecture:
            raise TypeError("an architecture is nested tuples of texts and numbers")
        return architecture, [str(name) for name in space.cost(architecture)]

    return plugins.call_user("space", settings["space"], "a space that samples and prices", price)


def _metrics(
    settings: Mapping[str, Any], searched: Iterable[str], reported: Iterable[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns objectives and reported metrics, and checks that they exist."""
    for field, known in (("objectives", [*searched]), ("reports", [*reported])):
        for name in settings[field]:
            check_choice(field, name, known)
    objectives = tuple(settings["objectives"])
    if not objectives or len(set(objectives)) < len(objectives):
        raise UserError("objectives", objectives, f"one or more, each once: {[*searched]}")
    return objectives, tuple(settings["reports"])


def build_strategy(space: Space, objectives: Sequence[str], settings: Mapping[str, Any]) -> Propose:
    """Builds a strategy from its name and its own fields.

    Args:
      space: The search space.
      objectives: Names of metrics, to be minimised.
      settings: `name` and the arguments of the strategy.

    Raises:
      UserError: For an unknown name or field, an invalid value, or more objectives than it takes.
    """
    own = dict(settings)
    name = str(own.pop("name", None))
    make = plugins.find("strategy.name", name, STRATEGIES)
    _check_strategy(name, make)
    own = plugins.check_settings("strategy", name, make, own, _GIVEN)
    parameters = inspect.signature(make).parameters
    if "objectives" in parameters:
        own["objectives"] = objectives
    elif "metric" in parameters:
        if len(objectives) > 1:
            allowed = f"one for {name}; nsga2, lemonade and bulk_and_cut take several"
            raise UserError("objectives", objectives, allowed)
        own["metric"] = objectives[0]
    build = functools.partial(make, space, **own)
    propose = plugins.call_user("strategy.name", name, "a strategy that can be made", build)
    if not callable(propose):
        allowed = f"a function that returns `(history, rng) → proposal`, not {propose!r}"
        raise UserError("strategy.name", name, allowed)
    return _checked(name, propose) if name not in STRATEGIES else propose


def _checked(name: str, propose: Propose) -> Propose:
    """Checks the proposals of a user's strategy."""

    def checked(history: History, rng: np.random.Generator) -> Proposal | None:
        allowed = "a strategy that returns a Proposal, or None to wait"
        found = plugins.call_user("strategy.name", name, allowed, propose, history, rng)
        if found is not None and not isinstance(found, Proposal):
            raise UserError("strategy.name", name, f"{allowed}; not {found!r:.100}")
        return found

    return checked


def _check_strategy(name: str, make: Any) -> None:
    """Checks that a strategy's function takes a space; other functions are never called."""
    parameters = list(inspect.signature(make).parameters) if inspect.isfunction(make) else []
    if parameters[:1] != ["space"]:
        raise UserError("strategy.name", name, f"a function `(space, …) → propose`, not {make!r}")
