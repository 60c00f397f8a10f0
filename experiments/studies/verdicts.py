"""Verdicts over seeds on a claim: yes, no, or how much is left open."""

from gpnas.report import stats


def verdict(gap: stats.Estimate, sign: int = 1) -> str:
    """Tests whether a mean over seeds is above zero, or below it.

    Args:
      gap: The mean and its interval.
      sign: 1 if it is claimed to be above zero, -1 if below.

    Returns:
      "yes" if the 95 % interval is on the claimed side of zero, "no" if it is on the other side,
      and otherwise "not shown with 3 seeds (half-width 0.3)". Equal values of several seeds, such
      as numbers of units, have no interval, and are compared with zero.
    """
    if gap.n > 1 and abs(gap.mean) > (gap.half or 0.0):
        return "yes" if sign * gap.mean > 0 else "no"
    return f"not shown with {_seeds(gap)}"


def no_loss(gap: stats.Estimate) -> str:
    """Tests whether a mean over seeds is at most zero, where above zero is a loss.

    Returns:
      "yes" if the 95 % interval ends at zero or below it, "no" if it begins above zero, and
      otherwise "no loss shown with 3 seeds (half-width 0.3)".
    """
    half = gap.half or 0.0
    if gap.n > 1 and gap.mean + half <= 0:
        return "yes"
    if gap.n > 1 and gap.mean - half > 0:
        return "no"
    return f"no loss shown with {_seeds(gap)}"


def target_verdict(gap: stats.Estimate, sign: int, form: str = ".2f") -> str:
    """Tests whether a mean over seeds is at a target or on the requested side of it.

    Args:
      gap: Values minus target, with the interval.
      sign: 1 if the target is a minimum, -1 if a maximum.
      form: Format of differences.

    Returns:
      "yes" if the 95 % interval is on the requested side of the target, "no" if it is on the other
      side, and otherwise "not shown with 3 seeds (mean above by 0.10, half-width 0.30)". Equal
      values of several seeds have no interval, and are compared with the target.
    """
    if gap.n > 1 and gap.half is None and not round(gap.mean, 9):
        return "yes"
    found = verdict(gap, sign)
    if found in ("yes", "no"):
        return found
    return target_left_open(gap.n, gap.mean, gap.half, form)


def target_left_open(seeds: int, mean: float, half: float | None, form: str) -> str:
    """Returns "not shown with 3 seeds (mean above by 0.10, half-width 0.30)".

    Args:
      seeds: Number of seeds.
      mean: Mean of values minus target.
      half: Half the width of its interval, if it has one.
      form: Format of differences.
    """
    where = f"{'above' if mean > 0 else 'below'} by {abs(mean):{form}}"
    width = "" if half is None else f", half-width {half:{form}}"
    return f"not shown with {_count(seeds)} (mean {where}{width})"


def _count(seeds: int) -> str:
    return f"{seeds} seed{'s' if seeds > 1 else ''}"


def _seeds(gap: stats.Estimate) -> str:
    count = _count(gap.n)
    if gap.half is None:
        return count + (f" ({stats.EQUAL})" if gap.n > 1 else "")
    return f"{count} (half-width {gap.half:.2g})"
