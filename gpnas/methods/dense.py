"""Dense training, the baseline."""

from gpnas.masks import identity, schedule
from gpnas.methods._method import Forecast, Method


def dense() -> Method:
    """Trains with all weights active at all steps."""
    return Method(identity(), Forecast(dense_gradient=schedule.constant(1.0)))
