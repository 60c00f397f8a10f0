"""Accessors for incomplete records, and formatters of numbers.

Records may come from older versions or killed runs. Accessors return None for values that are
missing, of another type or not finite; formatters print None as a dash.
"""

import itertools
import math
import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

MISSING = "–"
LARGEST = 1e100


def dig(record: Any, *path: str) -> Any:
    """Returns `record[path[0]][path[1]]…`, or None if a key is missing."""
    for key in path:
        if not isinstance(record, Mapping):
            return None
        record = record.get(key)
    return record


def as_number(value: Any) -> float | None:
    """Returns a finite float, or None for anything else.

    Booleans, NaN, and numbers whose squares overflow give None. Numbers smaller in
    magnitude than 1 / `LARGEST` give zero.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not -LARGEST <= value <= LARGEST:
        return None
    return float(value) if abs(value) * LARGEST >= 1 else 0.0


def number(record: Any, *path: str) -> float | None:
    """Returns the finite number at `path`, or None."""
    return as_number(dig(record, *path))


def items(record: Any, *path: str) -> list[Mapping[str, Any]]:
    """Returns the mappings in the list at `path`; an empty list if it does not exist."""
    value = dig(record, *path)
    if isinstance(value, str) or not isinstance(value, Sequence):
        return []
    return [item for item in value if isinstance(item, Mapping)]


def strings(record: Any, *path: str) -> list[str]:
    """Returns the list of strings at `path`; an empty list for anything else."""
    value = dig(record, *path)
    texts = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    return list(value) if texts else []


def flatten(tree: Any, prefix: str = "") -> dict[str, str]:
    """Flattens a nested config into `{"method.density": "0.02"}`.

    Args:
      tree: Mappings and leaves, as read from JSON.
      prefix: Prefix of every key.

    Returns:
      Dotted keys in sorted order, with leaves as text. Lists are leaves.
    """
    if isinstance(tree, Mapping) and tree:
        flat: dict[str, str] = {}
        for key in sorted(tree, key=str):
            flat.update(flatten(tree[key], f"{prefix}.{key}" if prefix else str(key)))
        return flat
    return {prefix: leaf(tree)} if prefix else {}


def leaf(value: Any) -> str:
    """Returns a JSON leaf as short text: `0.02`, `true`, `none`, `[300, 100]`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return "[" + ", ".join(leaf(item) for item in value) + "]"
    return str(value)


def shorten(text: str, width: int) -> str:
    """Shortens a text to `width` characters by cutting its middle."""
    if len(text) <= width:
        return text
    tail = width // 3
    return text[: max(width - 1 - tail, 1)] + "…" + (text[-tail:] if tail else "")


def slug(text: str) -> str:
    """Converts a text to letters, digits, dots and dashes, for file names and ids."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[:60].strip("_") or "_"


def unused(name: str, taken: Container[str]) -> str:
    """Returns the name, with a numeric suffix if it is taken."""
    numbered = (f"{name}_{n}" for n in itertools.count(2))
    return next(new for new in itertools.chain([name], numbered) if new not in taken)


def count_text(value: float | None) -> str:
    """Formats a count: `5,324`; means over seeds are rounded."""
    if value is None:
        return MISSING
    return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3g}"


def few(value: float | None) -> str:
    """Formats a small count that may be a mean: `3` or `3.4`."""
    if value is None:
        return MISSING
    return count_text(value) if abs(value - round(value)) < 0.05 else f"{value:,.1f}"


def percent_text(share: float | None) -> str:
    """Formats a fraction in [0, 1] as a percentage with a few digits: `2.00 %`, `0.50 %`."""
    return MISSING if share is None else f"{digits(100 * share)} %"


def digits(value: float | None) -> str:
    """Formats with three significant digits, or two below one: `26.0`, `0.26`, `0.020`."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    if not 1e-9 < abs(value) < 1e21:
        return f"{value:.2g}"
    exponent = math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, 2 - exponent) if exponent >= 0 else 1 - exponent}f}"


def significant(value: float | None, digits: int = 3) -> str:
    """Formats with `digits` significant digits; uses exponents only beyond 1e-9 and 1e21."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    if not 1e-9 < abs(value) < 1e21:
        return f"{value:.{digits}g}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def si(value: float | None) -> str:
    """Formats a large number with a prefix: `1.23 T`, `532 k`."""
    if value is None:
        return MISSING
    if abs(value) >= 1e21:
        return f"{value:.3g}"
    for size, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{significant(value / size)} {prefix}"
    return significant(value)


def tick(value: float) -> str:
    """Formats an axis tick without spaces: `20k`, `0.5`, `1.5M`."""
    return si(abs(value) if value == 0 else value).replace(" ", "")


def plural(n: int, noun: str) -> str:
    """Returns `1 run`, `2 runs`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
