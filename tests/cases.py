"""Cases of a parametrized test, and the tier that runs each."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def some(cases: Iterable[Any], often: Collection[Any]) -> list[Any]:
    """Marks cases that are not in `often` as exhaustive; a tuple is a case of several values."""

    def marked(case: Any) -> Any:
        values = case if isinstance(case, tuple) else (case,)
        return pytest.param(*values, marks=() if case in often else pytest.mark.exhaustive)

    return [marked(case) for case in cases]
