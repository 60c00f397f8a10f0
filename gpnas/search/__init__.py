"""Architecture search: a strategy is a function of the history of what was evaluated."""

from gpnas.search.history import History, Proposal, Propose, Trial, best, evaluated, known
from gpnas.search.run import search, simulate
from gpnas.search.space import Space, choices, only
from gpnas.search.strategies import STRATEGIES
from gpnas.search.table import Table, load_table

__all__ = [
    "STRATEGIES", "History", "Proposal", "Propose", "Space", "Table", "Trial", "best", "choices",
    "evaluated", "known", "load_table", "only", "search", "simulate",
]  # fmt: skip
