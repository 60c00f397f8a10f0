"""From the settings of a config to a method, with every mistake told in one line."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from gpnas import plugins
from gpnas.errors import UserError
from gpnas.masks import allocate, select
from gpnas.methods import (
    acdc,
    dense,
    development,
    gmp,
    granet,
    iterative,
    one_shot,
    pipeline,
    rigl,
    snfs,
    snip,
    static,
    ste,
    topkast,
)
from gpnas.methods import set as sparse_evolution
from gpnas.methods.method import Method, moment

METHODS: Mapping[str, Callable[..., Method]] = {
    "acdc": acdc.acdc,
    "dense": dense.dense,
    "development": development.development,
    "gmp": gmp.gmp,
    "granet": granet.granet,
    "iterative": iterative.iterative,
    "one_shot": one_shot.one_shot,
    "pipeline": pipeline.pipeline,
    "rigl": rigl.rigl,
    "set": sparse_evolution.set_,
    "snfs": snfs.snfs,
    "snip": snip.snip,
    "static": static.static,
    "ste": ste.ste,
    "topkast": topkast.topkast,
}
_GIVEN = ("total_steps", "batch_size")  # by the run, not by the method's settings
_SELECTIONS = {
    "exact_top_k": select.exact_top_k,
    "2:4": select.n_of_m(2, 4),
    "1:4": select.n_of_m(1, 4),
    "4x4": select.blocks((4, 4)),
}


def find(name: str) -> Callable[..., Method]:
    """The function of a method's name, or of `module:function` for one of the user's own.

    Raises:
      UserError: If there is none.
    """
    return plugins.find("method.name", name, METHODS)


def build(
    settings: Mapping[str, Any],
    *,
    total_steps: int,
    batch_size: int,
    shapes: allocate.Shapes,
    macs: Mapping[str, float] | None = None,
) -> Method:
    """Builds a method from a config's `method` section.

    Args:
      settings: `name`, and the method's own arguments; `allocation` and `seed_allocation` by name
        ("erk", "uniform", "global", "macs"), `select` by name ("exact_top_k", "2:4", "1:4", "4x4").
      total_steps: Length of the run.
      batch_size: Images a step.
      shapes: Shapes of the maskable leaves by path.
      macs: MACs of one weight by path, for the allocation "macs".

    Returns:
      The method.

    Raises:
      UserError: For an unknown name or argument, a wrong type, a value out of range, or a density
        that the allocation cannot meet.
    """
    arguments = dict(settings)
    function = find(arguments.pop("name"))
    known = inspect.signature(function).parameters
    allocations = {
        "erk": allocate.erk(),
        "uniform": allocate.uniform(),
        "global": allocate.global_(),
        "macs": allocate.by_cost(macs or {}),
    }
    own = [name for name in known if name not in _GIVEN]
    for name, value in arguments.items():
        field = f"method.{name}"
        if name not in own:
            raise UserError(
                field, value, f"a field of {settings['name']}: {', '.join(own) or 'none'}"
            )
        if name.endswith("allocation"):
            arguments[name] = _choice(field, value, allocations)
        elif name == "select":
            arguments[name] = _choice(field, value, _SELECTIONS)
        else:
            arguments[name] = _checked(field, value, known[name])
    missing = [n for n in own if known[n].default is known[n].empty and n not in arguments]
    if missing:
        raise UserError(f"method.{missing[0]}", None, f"a value: {settings['name']} needs it")
    given = {"total_steps": total_steps, "batch_size": batch_size}
    arguments |= {name: given[name] for name in _GIVEN if name in known}
    defaults = {n: known[n].default for n in own if known[n].default is not known[n].empty}
    whole = defaults | arguments
    _check_together(whole)
    for name in ("seed_allocation", "allocation"):
        if "density" in whole and whole.get(name) is not None:
            _check_density(whole["density"], whole[name], shapes)
    last = moment(whole.get("stop_at", 1.0), total_steps)
    if {"first", "peak"} & whole.keys() and whole.get("every", 1) > last:  # the density moves
        raise UserError("method.every", whole["every"], f"at most {last} in {total_steps} steps")
    n, of, m = str(settings.get("select", "")).partition(":")
    if of and whole["density"] != int(n) / int(m):
        raise UserError("method.density", whole["density"], f"{int(n) / int(m)}, as select has it")
    return function(**arguments)


def _choice(field: str, value: Any, choices: Mapping[str, Any]) -> Any:
    if value not in choices:
        raise UserError(field, value, ", ".join(choices))
    return choices[value]


def _checked(field: str, value: Any, parameter: inspect.Parameter) -> Any:
    """The value, if it has the type that the signature says and the range that its name says."""
    name, kind = parameter.name, parameter.annotation
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(field, value, "a finite number")
    if isinstance(kind, type) and type(value) is not kind:
        raise UserError(field, value, f"a value of type {kind.__name__}")
    if name in ("drop", "grow"):
        return _choice(field, value, {score: score for score in development.SCORES})
    if name in ("density", "first") and not 0 < value <= 1:
        raise UserError(field, value, "a number in (0, 1]")
    if (name.endswith("_at") or name in ("at", "fraction", "extra")) and not 0 <= value <= 1:
        raise UserError(field, value, "a fraction in [0, 1]")
    if name == "decay" and not 0 <= value < 1:
        raise UserError(field, value, "a number in [0, 1)")
    if name in ("every", "window", "rounds", "phases") and value < 1:
        raise UserError(field, value, "1 or more")
    if (
        name in ("protect", "rest", "survival_age", "price", "hysteresis", "churn", "stagger_at")
        and value < 0
    ):
        raise UserError(field, value, "0 or more")
    if name == "peak" and value < 1:
        raise UserError(field, value, "1 or more, a multiple of the density")
    return value


def _check_together(arguments: Mapping[str, Any]) -> None:
    """Checks the settings, defaults included, that limit each other."""
    density = arguments.get("density", 1.0)
    if "peak" in arguments and arguments["peak"] * density > 1:
        raise UserError(
            "method.peak", arguments["peak"], f"at most {1 / density:g}, at density {density:g}"
        )
    if "extra" in arguments and arguments["extra"] + density > 1:
        raise UserError(
            "method.extra", arguments["extra"], f"at most {1 - density:g}, at density {density:g}"
        )
    for name in ("warmup_at", "start_at", "peak_at"):
        if arguments.get(name, 0) > arguments.get("stop_at", 1):
            raise UserError(f"method.{name}", arguments[name], "at most stop_at")
    age = arguments.get("survival_age", 0)
    if age and (age <= arguments.get("protect", 0) or age < arguments.get("every", 1)):
        raise UserError("method.survival_age", age, "more than protect, at least every")
    delay, spread = arguments.get("stagger_at", 0), arguments.get("allocation", allocate.erk())
    if delay and len(spread({"a": (2,), "b": (2,)}, jnp.float32(1))) == 1:
        raise UserError("method.stagger_at", delay, "0 where leaves compete (allocation global)")
    rest = 1 - arguments.get("stop_at", 1)
    if delay > rest + 1e-9:
        raise UserError("method.stagger_at", delay, f"at most {rest:g}, what stop_at leaves")


def _check_density(
    density: float, allocation: allocate.Allocation, shapes: allocate.Shapes
) -> None:
    try:
        allocate.check(allocation, shapes, density)
    except ValueError as error:
        raise UserError(
            "method.density", density, f"one that the allocation can meet ({error})"
        ) from error
