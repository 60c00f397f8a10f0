"""Settings of a method at a given training cost, for comparisons at equal training FLOPs."""

from collections.abc import Mapping
from typing import Any

from scipy.optimize import brentq

from gpnas.errors import UserError
from gpnas.methods._registry import build, fields_of
from gpnas.methods._training_cost import training_cost

_WHOLE = (int, int | str)  # annotations of fields with whole numbers; int | str: durations


def relative_flops(settings: Mapping[str, Any], *, total_steps: int, **run: Any) -> float:
    """Returns a method's expected training FLOPs, relative to dense training of the masked layers.

    Args:
      settings: As for `build`.
      total_steps: Length of the run.
      **run: Other arguments of `build`; with `macs`, layers may differ in MACs per weight.

    Raises:
      UserError: As `build`.
    """
    forecast = build(settings, total_steps=total_steps, **run).forecast
    cost, _ = training_cost(forecast, total_steps, run["shapes"], run.get("macs"))
    return cost


def match_flops(
    settings: Mapping[str, Any],
    target: float,
    field: str,
    between: tuple[float, float],
    *,
    total_steps: int,
    **run: Any,
) -> dict[str, Any]:
    """Changes one field so that training costs a given number of FLOPs.

    The cost is that of `relative_flops`, a forecast. The measured cost differs if layers with
    different MACs per weight compete, since the forecast gives them equal densities.

    Args:
      settings: As for `build`.
      target: Training FLOPs, relative to dense training of the masked layers.
      field: Real-valued field of the method on which the cost depends monotonically, for example
        `first` of GMP and GraNet, or `peak` of development.
      between: Minimum and maximum of the field, in any order.
      total_steps: Length of the run.
      **run: Other arguments of `build`.

    Returns:
      The settings with the field that root finding returns, to a relative error of 10⁻⁴ or an
      absolute one of 10⁻⁶. The cost is not checked: it misses the target where it changes in jumps,
      as with `stop_at`, by up to the height of a jump.

    Raises:
      UserError: As `build`, if the field has whole numbers, and if no value in the range has this
        cost.
    """
    fields = fields_of(settings.get("name", ""))
    if field in fields and fields[field].annotation in _WHOLE:
        real = ", ".join(name for name, own in fields.items() if own.annotation is float)
        raise UserError("field", field, f"a field with real values: {real or 'none'}")
    between = min(between), max(between)

    def cost(value: float) -> float:
        return relative_flops({**settings, field: value}, total_steps=total_steps, **run)

    least, most = sorted(map(cost, between))
    if not least <= target <= most:
        allowed = f"{least:.4g} to {most:.4g}, which {field} from {between[0]:g} to {between[1]:g}"
        raise UserError("target", target, f"{allowed} costs")
    found = brentq(lambda value: cost(value) - target, *between, xtol=1e-6, rtol=1e-4)
    return {**settings, field: found}
