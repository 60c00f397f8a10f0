"""Mean and 95 % confidence interval over seeds, also for paired seeds, and both as text."""

import dataclasses
import math
from collections.abc import Iterable, Mapping

from gpnas.report.formatting import MISSING

# Quantile 0.975 of Student's t for 1 to 30 degrees of freedom.
_T975 = (
    *(12.7062047364, 4.3026527297, 3.1824463053, 2.7764451052, 2.5705818356, 2.4469118511),
    *(2.3646242516, 2.3060041352, 2.2621571628, 2.2281388520, 2.2009851601, 2.1788128297),
    *(2.1603686565, 2.1447866879, 2.1314495456, 2.1199052992, 2.1098155778, 2.1009220402),
    *(2.0930240544, 2.0859634473, 2.0796138447, 2.0738730679, 2.0686576104, 2.0638985616),
    *(2.0595385528, 2.0555294386, 2.0518305165, 2.0484071418, 2.0452296421, 2.0422724563),
)
_Z975 = 1.959963984540054


def t_quantile(df: int) -> float:
    """Returns the 0.975 quantile of Student's t distribution.

    A table up to 30 degrees of freedom, then the expansion in 1/df, which is exact to 1e-6 there.

    Args:
      df: Degrees of freedom, at least 1.

    Returns:
      The half width of a 95 % interval, in standard errors.

    References:
      Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    if df < 1:
        raise ValueError(f"df must be at least 1, got {df}")
    if df <= len(_T975):
        return _T975[df - 1]
    z = _Z975
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + g1 / df + g2 / df**2 + g3 / df**3


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
      values: The values it is the mean of.
      mean: Their mean.
      half: Half the width of the 95 % confidence interval; None with a single value, and where all
        values are equal: they leave nothing to estimate a spread from.
    """

    values: tuple[float, ...]
    mean: float
    half: float | None

    @property
    def n(self) -> int:
        """The number of values."""
        return len(self.values)


def estimate(values: Iterable[float | None]) -> Estimate | None:
    """Returns the mean and its 95 % interval, or None where no value is known.

    Args:
      values: One a seed; missing ones are left out.

    Returns:
      An estimate whose `n` counts the values that were there.
    """
    known = tuple(value for value in values if value is not None)
    if not known:
        return None
    n = len(known)
    mean = math.fsum(known) / n
    if math.isclose(min(known), max(known), rel_tol=1e-9, abs_tol=1e-12):
        return Estimate(known, mean, None)
    variance = math.fsum((value - mean) ** 2 for value in known) / (n - 1)
    return Estimate(known, mean, t_quantile(n - 1) * math.sqrt(variance / n))


def paired_difference(
    ours: Mapping[int, float | None], theirs: Mapping[int, float | None]
) -> Estimate | None:
    """Returns the estimate of ours minus theirs over the seeds that both have.

    Args:
      ours: Value by seed.
      theirs: Value by seed, of the arm compared with.

    Returns:
      The mean paired difference, or None where no seed is shared.
    """
    pairs = [
        (value, theirs[seed])
        for seed, value in sorted(ours.items())
        if theirs.get(seed) is not None
    ]
    return estimate(a - b for a, b in pairs if a is not None and b is not None)


EQUAL = "all equal"  # said of several values that have no interval


def interval_text(found: Estimate | None, places: int = 2, sign: str = "") -> str:
    """Formats `1.62 ± 0.05`, or `1.62 (all equal)` and `1.62` where there is no interval.

    Args:
      found: The estimate; None is a dash.
      places: Decimals; more are shown where the interval would be rounded to zero.
      sign: `"+"` for a sign also in front of positive means.

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
