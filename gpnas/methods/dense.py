"""Dense training: the baseline that nothing is taken from."""

from gpnas.masks import identity, schedule
from gpnas.methods._method import Forecast, Method


def dense() -> Method:
    """All weights live, always."""
    return Method(identity(), Forecast(schedule.constant(1.0), schedule.constant(1.0)))
