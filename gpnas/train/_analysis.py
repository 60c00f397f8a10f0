"""Analyses of a trained network: the user's functions, whose results are in the record."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from gpnas import plugins
from gpnas.data import Dataset, standardize, subset
from gpnas.train._plan import Plan
from gpnas.train._step import forward_of

_IMAGES = 5000  # number of training images


def find_analyses(names: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """Imports the functions of a config's `analysis`, by name.

    Each is `(forward, params, masks, classes) → JSON data`, see `gpnas.gates.Forward`.

    Raises:
      UserError: For a name that does not exist.
    """
    known: Mapping[str, Callable[..., Any]] = {}
    return {name: plugins.find("analysis", name, known) for name in names}


def analyse(
    names: Sequence[str], plan: Plan, variables: Mapping[str, Any], masks: Any, data: Dataset
) -> dict[str, Any]:
    """Runs the named analyses of a network on training images; returns their results by name."""
    some = subset(data.train, _IMAGES)
    images, labels = standardize(jnp.asarray(some.inputs), data), jnp.asarray(some.targets)
    others = {name: value for name, value in variables.items() if name != "params"}
    forward = forward_of(plan.task, others, (images, labels))
    given = forward, variables["params"], masks, data.num_classes
    allowed = "a function (forward, params, masks, classes) → JSON data"
    return {
        name: plugins.call_user("analysis", name, allowed, function, *given)
        for name, function in find_analyses(names).items()
    }
