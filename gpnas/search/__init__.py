"""Architecture search: a strategy is a function of the trial history.

    >>> from gpnas import search
    >>> table = search.load_table("nas_bench_201")
    >>> propose = search.STRATEGIES["evolution"](table.space, metric="cifar10_validation_12")
    >>> trials = search.search(propose, table.evaluate, evaluations=20)
    >>> len(trials)
    20

Namespaces: `strategies`, one file each; `build` builds a search from a config; `storage` keeps
searches in a database; `sweep` runs studies of `gpnas.train` from a database; `record`;
`comparison` of strategies; `pareto`; `spaces`, `training` and `morphable` train networks. Modules
that train networks or open a database are imported on demand.
"""

from gpnas.search import pareto, strategies
from gpnas.search._history import History, Proposal, Propose, Trial, best, evaluated, known, value
from gpnas.search._outcome import Failed, TooManyFailures, exhausted
from gpnas.search._run import Evaluate, EvaluateAll, search, search_together, simulate
from gpnas.search._space import Space, choices, only
from gpnas.search._table import BenchmarkTable, load_table
from gpnas.search.strategies import STRATEGIES

__all__ = [
    "STRATEGIES", "BenchmarkTable", "Evaluate", "EvaluateAll", "Failed", "History", "Proposal",
    "Propose", "Space", "TooManyFailures", "Trial", "best", "build", "choices",
    "comparison", "evaluated", "exhausted", "known", "load_table", "morphable", "only",
    "pareto", "record", "search", "search_together", "simulate", "spaces",
    "storage", "strategies", "sweep", "training", "value",
]  # fmt: skip  # noqa: F822
