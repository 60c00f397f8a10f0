"""Mean and 95 % confidence interval over seeds, also of paired differences."""

import dataclasses
import math
from collections.abc import Iterable, Mapping

from scipy.special import stdtrit

from gpnas.report.formatting import MISSING


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
      values: The values.
      mean: The mean.
      half: Half the width of the 95 % confidence interval; None for a single value, and if all
        values are equal.
    """

    values: tuple[float, ...]
    mean: float
    half: float | None

    @property
    def n(self) -> int:
        """The number of values."""
        return len(self.values)


def estimate(values: Iterable[float | None]) -> Estimate | None:
    """Returns the mean and its 95 % interval; None if no value is known.

    Args:
      values: One value per seed; None values are ignored.

    Returns:
      An estimate whose `n` counts the known values.
    """
    known = tuple(value for value in values if value is not None)
    if not known:
        return None
    n = len(known)
    mean = math.fsum(known) / n
    if math.isclose(min(known), max(known), rel_tol=1e-9, abs_tol=1e-12):
        return Estimate(known, mean, None)
    variance = math.fsum((value - mean) ** 2 for value in known) / (n - 1)
    return Estimate(known, mean, float(stdtrit(n - 1, 0.975)) * math.sqrt(variance / n))


def paired_difference(
    ours: Mapping[int, float | None], theirs: Mapping[int, float | None]
) -> Estimate | None:
    """Returns the estimate of ours minus theirs over common seeds.

    Args:
      ours: Value by seed.
      theirs: Value by seed of the other arm.

    Returns:
      The mean paired difference, or None without common seeds.
    """
    pairs = [
        (value, theirs[seed])
        for seed, value in sorted(ours.items())
        if theirs.get(seed) is not None
    ]
    return estimate(a - b for a, b in pairs if a is not None and b is not None)


EQUAL = "all equal"  # shown for equal values, which have no interval


def interval_text(found: Estimate | None, places: int = 2, sign: str = "") -> str:
    """Formats `1.62 ± 0.05`; without an interval `1.62 (all equal)` or `1.62`.

    Args:
      found: The estimate; None gives a dash.
      places: Decimals; more if the interval would be rounded to zero.
      sign: `"+"` to sign positive means, too.

    Returns:
      Mean and half the interval, with the same decimals.
    """
    if found is None:
        return MISSING
    if found.half is not None:
        if round(found.half, places) == 0:
            places = -math.floor(math.log10(found.half))
        return f"{found.mean:{sign},.{places}f} ± {found.half:,.{places}f}"
    return f"{found.mean:{sign},.{places}f}" + (f" ({EQUAL})" if found.n > 1 else "")


def estimate_text(found: Estimate | None) -> str:
    """Formats as `interval_text`; a single seed gives `1.62 pilot (1 seed)`."""
    return interval_text(found) + (" pilot (1 seed)" if found and found.n == 1 else "")
