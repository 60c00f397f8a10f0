"""The metric of a task: the quantity by which the runs of a report are compared."""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from gpnas.report import formatting, stats

_DIGITS = 4  # of a value without a unit
_SMALL, _LARGE = 1e-9, 1e15  # beyond which a value is written with an exponent


class Metric(NamedTuple):
    """What a task reports of a split; the default is that of classification.

    Attributes:
      name: As the record names it: `test_NAME_last`, `val_NAME_selected`, ….
      unit: Of its values; may be empty.
      better: Whether "lower" or "higher" values are better.
    """

    name: str = "error"
    unit: str = "%"
    better: Literal["lower", "higher"] = "lower"

    @property
    def title(self) -> str:
        """The name for people."""
        return formatting.shorten(self.name.replace("_", " "), 40)

    @property
    def capital(self) -> str:
        """The name with a capital, at the beginning of a title."""
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
        """What the best value is among others."""
        return "lowest" if self.better == "lower" else "highest"

    def axis(self, what: str) -> str:
        """Returns the label of an axis of `what`, with the unit."""
        return f"{what}, {self._unit}" if self._unit else what

    def rank(self, value: float) -> float:
        """Returns a number that is smaller for better values."""
        return value if self.better == "lower" else -value

    def text(self, value: float) -> str:
        """Returns a value with its unit: `1.62 %`."""
        return self.with_unit(self.interval(stats.estimate([value])))

    def with_unit(self, text: str) -> str:
        """Returns values as text with the unit after them: `1.62 ± 0.05 %`."""
        return f"{text} {self._unit}".rstrip()

    def interval(self, found: stats.Estimate | None, of: float | None = None) -> str:
        """Formats an estimate without its unit, as `interval_text`.

        Args:
          found: The estimate; of a difference, which has a sign, if `of` is given.
          of: The value that it is a difference from.
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


ERROR = Metric()


def metric_of(source: Mapping[str, Any]) -> Metric | None:
    """Returns the metric of a record or a `config.json`.

    Records that do not name their task are of classification, and were written before there were
    others.

    Args:
      source: The record.

    Returns:
      The metric; None if the record names one that is none.
    """
    if "task" not in source:
        return ERROR
    name, unit, better = (
        formatting.dig(source, "task", "metric", field) for field in Metric._fields
    )
    texts = isinstance(name, str) and isinstance(unit, str)
    if not texts or not name or better not in ("lower", "higher"):
        return None
    return Metric(name, unit, better)
