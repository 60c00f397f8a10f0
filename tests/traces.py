"""How often JAX traces a function: once per compiled program.

The size of a jitted function's own cache says less: JAX empties it now and then.
"""

import functools
from collections.abc import Callable
from typing import Any


def at_most(number: int, function: Callable) -> Callable:
    """`function`, which raises an AssertionError where it is called more than `number` times."""
    calls = 0

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        assert calls <= number, f"traced {calls} times"
        return function(*args, **kwargs)

    return counted
