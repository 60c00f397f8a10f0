"""Check that a study is resumed with its original settings."""

from collections.abc import Iterator, Mapping
from typing import Any

from gpnas._files import lists
from gpnas.errors import check_unchanged
from gpnas.search._config import search_key

# Fields that may change on resume; digests show whether the data are the same.
_MAY_CHANGE = {
    *("evaluations", "steps", "failures"),
    *(f"data.{place}" for place in ("raw_dir", "data_dir", "cache_dir", "download")),
}


def check_settings_unchanged(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Checks that settings differ only in fields that may change.

    Args:
      before: Original settings of the study.
      now: Settings with which it is resumed.

    Raises:
      UserError: For the first field that differs.
    """
    old, new = (
        {field: value for field, value in _leaves(search_key(own)) if field not in _MAY_CHANGE}
        for own in (before, now)
    )
    check_unchanged(old, new, "what the study began with, or another name")


def _leaves(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted path, value); of a table only the kind, since digests cover its content."""
    for name, value in settings.items():
        here = f"{path}{name}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{here}.")
        elif here == "space" and str(value).startswith("table:"):
            yield here, "table"
        else:
            yield here, lists(value)  # as read from JSON
