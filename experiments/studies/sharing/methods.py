"""The searches of the study; each returns the selected architecture and its cost."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.studies.sharing.costs import FORWARD
from experiments.studies.sharing.darts import discretise, first_order
from experiments.studies.sharing.shared import (
    ImageSplit,
    Recipe,
    Shared,
    by_shared_weights,
    minibatches,
    train_shared,
)
from experiments.studies.supernet201 import Supernet201, choice
from gpnas.models import cell201
from gpnas.search import (
    BenchmarkTable,
    TooManyFailures,
    Trial,
    best,
    evaluated,
    search,
    simulate,
    value,
)
from gpnas.search.strategies import asha, successive_halving

_BEST = "cifar10_test_200"  # column of the table; the lowest value is the best


class Cost(NamedTuple):
    """Cost in training steps (evaluating a minibatch is a third of one) and in MACs."""

    steps: float
    macs: float


class SearchResult(NamedTuple):
    """The architecture that a search selected, and the cost of the search.

    Attributes:
      architecture: The selected architecture.
      cost: Cost of the search.
      candidates: Number of individually evaluated architectures.
      error: Validation error of the selected architecture in the search (a fraction), or None.
      params: Parameters of a supernet that was trained on single paths, or None.
    """

    architecture: tuple[str, ...]
    cost: Cost
    candidates: int
    error: float | None = None
    params: Any = None


class Context(NamedTuple):
    """Settings shared by all records of a study.

    Attributes:
      config: The study's config.
      table: The space.
      sample: Architectures trained alone.
      supernet: The network with all operations.
      shared: Programs of the supernet.
      recipe: Training settings.
      train, held, test: Images of the training, validation and test split.
      rows: (minibatches, batch) int32, a pass over the validation images.
      macs: `selection → MACs` for one image.
    """

    config: ConfigDict
    table: BenchmarkTable
    sample: list[tuple[str, ...]]
    supernet: Supernet201
    shared: Shared
    recipe: Recipe
    train: ImageSplit
    held: ImageSplit
    test: ImageSplit
    rows: np.ndarray
    macs: Callable[[np.ndarray], int]


def network_steps(context: Context, steps: int) -> float:
    """Returns the cost of training and evaluating one network, in training steps."""
    return steps + FORWARD * len(context.rows)


def random_candidates(context: Context) -> int:
    """Returns the number of networks that random search can train within the budget."""
    return int(context.config.budget // network_steps(context, context.config.steps))


def supernet_steps(context: Context) -> int:
    """Returns a supernet's training steps: the budget minus evaluations with shared weights."""
    c = context.config
    minibatches = c.candidates * c.minibatches + c.finalists * len(context.rows)
    return math.floor(c.budget - FORWARD * minibatches)


def _training_cost(context: Context, selection: np.ndarray, steps: float) -> Cost:
    return Cost(steps, 3 * steps * context.config.batch * context.macs(selection))


def _evaluation_cost(context: Context, selection: np.ndarray, count: int) -> Cost:
    return Cost(FORWARD * count, count * context.config.batch * context.macs(selection))


def _total(parts: Sequence[Cost]) -> Cost:
    return Cost(sum(part.steps for part in parts), sum(part.macs for part in parts))


def train_alone(
    shared: Shared, seen: ImageSplit, selection: np.ndarray, steps: int, batch: int, seed: int
) -> Any:
    """Trains one architecture from scratch and returns its parameters.

    Args:
      shared: The programs of a supernet.
      seen: Training images.
      selection: (edges,) int32, the architecture.
      steps, batch: Number of steps, and images per step.
      seed: Seed of the weights and of the order of images.
    """
    rng = np.random.default_rng(seed)
    rows = minibatches(rng, len(seen.labels), batch, steps)
    selections = np.broadcast_to(selection, (steps, *selection.shape))
    return shared.train(shared.init(jax.random.key(seed)), seen, selections, rows, steps).params


def error_alone(context: Context, architecture: Sequence[str], steps: int, seed: int) -> float:
    """Returns the validation error of an architecture trained from scratch, a fraction."""
    c, selection = context.config, choice(architecture)
    params = train_alone(context.shared, context.train, selection, steps, c.batch, seed)
    return context.shared.error(params, context.held, selection, context.rows)


def recorded_error(records: Sequence[Mapping[str, Any]], architecture: Sequence[str]) -> float:
    """Returns the recorded validation error in percent of a network trained alone."""
    own = next(
        r
        for r in records
        if r["part"] == "alone" and tuple(r["architecture"]) == tuple(architecture)
    )
    return own["errors"]["val_error"]


def _random(context: Context, seed: int, records: Sequence[Mapping]) -> SearchResult:
    """Random search; its candidates are the next ones of the sample, already trained."""
    count = random_candidates(context)
    own = context.sample[seed * count : (seed + 1) * count]
    errors = [recorded_error(records, architecture) for architecture in own]
    chosen = own[int(np.argmin(errors))]
    cost = [_network_cost(context, architecture, context.config.steps) for architecture in own]
    return SearchResult(chosen, _total(cost), count, min(errors) / 100)


def _network_cost(context: Context, architecture: Sequence[str], steps: int) -> Cost:
    selection = choice(architecture)
    evaluation = _evaluation_cost(context, selection, len(context.rows))
    return _total([_training_cost(context, selection, steps), evaluation])


def _best(trials: Sequence[Trial]) -> Trial:
    """Returns the best of the trials with the largest budget.

    Raises:
      TooManyFailures: If all trials failed.
    """
    if not trials:
        raise TooManyFailures("every candidate failed")
    highest = max(trial.budget for trial in trials)
    return best([trial for trial in trials if trial.budget == highest], "error")


def _asha(context: Context, seed: int, records: Sequence[Mapping]) -> SearchResult:
    """ASHA with one worker; a promoted network is trained from scratch."""
    c = context.config
    budgets = [c.steps // c.reduction**rung for rung in (2, 1, 0)]

    def evaluate(trial: Trial) -> dict[str, float]:
        own = 1000 * (seed + 1) + trial.number
        return {"error": error_alone(context, trial.architecture, trial.budget, own)}

    propose = asha(context.table.space, "error", budgets, c.reduction)
    ended = simulate(
        propose,
        evaluate,
        lambda t: network_steps(context, t.budget),
        workers=1,
        until=c.budget,
        seed=seed,
    )
    trials = evaluated([trial for _, trial in ended])
    winner = _best(trials)
    cost = _total([_network_cost(context, trial.architecture, trial.budget) for trial in trials])
    candidates = len({trial.architecture for trial in trials})
    return SearchResult(winner.architecture, cost, candidates, value(winner, "error"))


def _weight_sharing(context: Context, seed: int, records: Sequence[Mapping]) -> SearchResult:
    """Random search with weight sharing."""
    c, space = context.config, context.table.space
    rng = np.random.default_rng((seed, 1))
    paths = np.stack([choice(space.sample(rng)) for _ in range(supernet_steps(context))])
    params = train_shared(context.shared, context.train, paths, c.batch, seed)
    budgets = (c.minibatches, len(context.rows))
    propose = successive_halving(
        space, "error", budgets, c.candidates // c.finalists, first=c.candidates
    )
    evaluate = by_shared_weights(context.shared, params, context.held, context.rows, choice)
    trials = evaluated(search(propose, evaluate, c.candidates + c.finalists, seed))
    winner = _best(trials)
    cost = [_training_cost(context, path, 1) for path in paths]
    cost += [_evaluation_cost(context, choice(t.architecture), t.budget) for t in trials]
    assert winner.metrics is not None
    return SearchResult(
        winner.architecture, _total(cost), c.candidates, winner.metrics["error"], params
    )


def _darts(context: Context, seed: int, records: Sequence[Mapping]) -> SearchResult:
    """First-order DARTS; a turn is two steps, each through all operations."""
    c = context.config
    turns = c.budget // 2
    mixture = first_order(
        context.supernet, context.shared, context.train, context.held, turns, c.batch, seed,
        context.recipe,
    )  # fmt: skip
    everything = np.ones((len(cell201.EDGES), len(cell201.OPERATIONS)))
    return SearchResult(
        discretise(mixture.alpha), _training_cost(context, everything, 2 * turns), 0
    )


def _best_of_table(context: Context, seed: int, records: Sequence[Mapping]) -> SearchResult:
    """For reference: the cell that is best on CIFAR-10 at full size."""
    row = int(np.argmin(context.table.metrics[_BEST]))
    return SearchResult(list(context.table.rows)[row], Cost(0, 0), 0)


METHODS: dict[str, Callable[[Context, int, Sequence[Mapping]], SearchResult]] = {
    "random": _random,
    "ASHA": _asha,
    "weight sharing": _weight_sharing,
    "DARTS": _darts,
    "best on CIFAR-10": _best_of_table,
}
