"""The metric of a task: the quantity by which the runs of a report are compared."""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from gpnas.report import formatting, stats

_DIGITS = 4  # digits of a value without a unit
_SMALL, _LARGE = 1e-9, 1e15  # beyond which a value is written with an exponent


class TaskMetric(NamedTuple):
    """The metric of a task; the default is that of classification.

    Attributes:
      name: Name in the record: `test_NAME_last`, `val_NAME_selected`, ….
      unit: Unit of the values; may be empty.
      better: Whether "lower" or "higher" values are better.
    """

    name: str = "error"
    unit: str = "%"
    better: Literal["lower", "higher"] = "lower"

    @property
    def title(self) -> str:
        """The name for display."""
        return formatting.shorten(self.name.replace("_", " "), 40)

    @property
    def capital(self) -> str:
        """The capitalized name."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def label(self) -> str:
        """Name and unit: `error %`."""
        return self.with_unit(self.title)

    @property
    def slug(self) -> str:
        """The name as part of a file name."""
        return formatting.slug(self.name)

    @property
    def best(self) -> str:
        """The direction of the best value: "lowest" or "highest"."""
        return "lowest" if self.better == "lower" else "highest"

    def axis(self, what: str) -> str:
        """Returns an axis label for `what`, with the unit."""
        return f"{what}, {self._unit}" if self._unit else what

    def rank(self, value: float) -> float:
        """Returns a sort key that is smaller for better values."""
        return value if self.better == "lower" else -value

    def text(self, value: float) -> str:
        """Returns a value with its unit: `1.62 %`."""
        return self.with_unit(self.interval(stats.estimate([value])))

    def with_unit(self, text: str) -> str:
        """Appends the unit to a text of values: `1.62 ± 0.05 %`."""
        return f"{text} {self._unit}".rstrip()

    def interval(self, found: stats.Estimate | None, of: float | None = None) -> str:
        """Formats an estimate without its unit, as `interval_text` does.

        Args:
          found: The estimate; a signed difference if `of` is given.
          of: Reference value of the difference.
        """
        if found is None:
            return formatting.MISSING
        size = abs(found.mean if of is None else of)
        if self.unit == "%" or size == 0:
            places = 2
        elif not _SMALL < size < _LARGE:
            return f"{found.mean:.{_DIGITS}g}" + (f" ± {found.half:.2g}" if found.half else "")
        else:
            places = max(0, _DIGITS - 1 - math.floor(math.log10(size)))
        return stats.interval_text(found, places, "" if of is None else "+")

    @property
    def _unit(self) -> str:
        return formatting.shorten(self.unit, 16)


ERROR = TaskMetric()


def metric_of(source: Mapping[str, Any]) -> TaskMetric | None:
    """Returns the metric of a record or a `config.json`.

    Older records do not name their task and are of classification.

    Args:
      source: The record.

    Returns:
      The metric; None if the record's metric is invalid.
    """
    if "task" not in source:
        return ERROR
    name, unit, better = (
        formatting.dig(source, "task", "metric", field) for field in TaskMetric._fields
    )
    texts = isinstance(name, str) and isinstance(unit, str)
    if not texts or not name or better not in ("lower", "higher"):
        return None
    return TaskMetric(name, unit, better)
