"""The fields of a search's config with their types."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from gpnas.search._outcome import FAILURES
from gpnas.search._table import TABLES
from gpnas.search._task import DEFAULT
from gpnas.sections import check_section
from gpnas.train import base

_SHARED: dict[str, Any] = {
    "space": "",
    "objectives": (),
    "reports": (),
    "strategy": {"name": ""},
    "evaluations": 1,
    "failures": FAILURES,
    "seed": 0,
}
_TABLE = {"columns": 0}
_TRAINED = {
    "network": {},
    "training": {},
    "data": base().data,
    "steps": 0,
    "together": 1,
    "task": DEFAULT,
}
_COMPARISON: dict[str, Any] = {"study": "", "seeds": 1, "only": "", "arms": {}}
# The fields of a section depend on the names in the config; a config may have further fields.
_UNCHECKED = ("", "strategy", "network", "training", "task")
_FOLDER = "configs/searches"


def is_table(space: Any) -> bool:
    """Returns whether the name of a space names a table."""
    kind, _, path = str(space).partition(":")
    return kind in TABLES and not path or kind == "table" and bool(path)


def check_search(settings: Any) -> None:
    """Checks that a search has all required fields, each of its type.

    Raises:
      UserError: For the first field that is missing or has another type.
    """
    check_section(settings, _SHARED, "", _UNCHECKED, ("failures",), f"{_FOLDER}/nas_bench_201.py")
    if is_table(settings["space"]):
        check_section(settings, _TABLE, "", _UNCHECKED, (), f"{_FOLDER}/nas_bench_201.py")


def check_trained(settings: Any) -> None:
    """Checks that a search that trains networks has its own fields, each of its type.

    Raises:
      UserError: For the first field that is missing or has another type.
    """
    check_section(settings, _TRAINED, "", _UNCHECKED, ("task",), f"{_FOLDER}/lemonade.py")


def check_comparison(config: ConfigDict) -> None:
    """Checks that a comparison has its own fields and that its arms are dicts of sections.

    Raises:
      UserError: For the first field that is missing or has another type.
    """
    source = "gpnas.search.comparison.make_config"
    check_section(config, _COMPARISON, "", ("", "arms"), (), source)
    for arm, changed in config.arms.items():
        sections: dict[str, Any] = dict.fromkeys(changed, {}) if hasattr(changed, "items") else {}
        check_section(changed, sections, f"arms.{arm}", {f"arms.{arm}.{s}" for s in sections})


def search_key(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that identify a search, without the default task.

    Older records and studies name no task.
    """
    return {k: v for k, v in settings.items() if (k, v) != ("task", DEFAULT)}
