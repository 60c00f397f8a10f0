"""Builds methods from configs; an invalid setting is a one-line error."""

import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

from gpnas import plugins
from gpnas.errors import UserError, check_choice, explained
from gpnas.masks import AxesTable, allocate, select
from gpnas.methods import (
    acdc,
    dense,
    development,
    development_cost,
    development_units,
    duration,
    gmp,
    granet,
    iterative,
    l0,
    lottery,
    npn,
    one_shot,
    pipeline,
    rigl,
    sensitive,
    snfs,
    snip,
    sparse_vd,
    static,
    static_units,
    ste,
    topkast,
)
from gpnas.methods import set as sparse_evolution
from gpnas.methods._check import check_density, check_one, check_together
from gpnas.methods._method import Method
from gpnas.units import CostModel, UnitGroups

#: Constructors of the methods by name.
METHODS: Mapping[str, Callable[..., Method]] = {
    "acdc": acdc.acdc,
    "dense": dense.dense,
    "development": development.development,
    "development_cost": development_cost.development_cost,
    "development_units": development_units.development_units,
    "gmp": gmp.gmp,
    "granet": granet.granet,
    "iterative": iterative.iterative,
    "l0": l0.l0,
    "l0_arm": l0.l0_arm,
    "lobster": sensitive.lobster,
    "lottery": lottery.lottery,
    "npn_expand": npn.npn_expand,
    "npn_sparsify": npn.npn_sparsify,
    "one_shot": one_shot.one_shot,
    "pipeline": pipeline.pipeline,
    "rigl": rigl.rigl,
    "sensitivity": sensitive.sensitivity,
    "serene": sensitive.serene,
    "set": sparse_evolution.set_,
    "snfs": snfs.snfs,
    "snip": snip.snip,
    "sparse_vd": sparse_vd.sparse_vd,
    "static": static.static,
    "static_units": static_units.static_units,
    "ste": ste.ste,
    "topkast": topkast.topkast,
}
# Arguments that come from the run, not from the settings.
_GIVEN = (
    "total_steps", "batch_size", "images", "classes", "shapes", "groups", "sizes", "costs",
    "params", "output_layers",
)  # fmt: skip


def find_method(name: str) -> Callable[..., Method]:
    """Returns a method's constructor by name, or by `module:function` for a user's method.

    Raises:
      UserError: If it does not exist.
    """
    return plugins.find("method.name", name, METHODS, Method)


def needs_unit_groups(name: str) -> bool:
    """Returns whether a method masks units, and thus needs the `groups` of a network.

    Raises:
      UserError: If the method does not exist.
    """
    return "groups" in plugins.parameters_of(find_method(name))


def fields_of(name: str) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a method that a config can set; durations are steps or strings.

    Raises:
      UserError: If the method does not exist.
    """
    known = plugins.parameters_of(find_method(name))
    return {
        field: p.replace(
            annotation=int | str
            if duration.is_duration(field, known)
            else plugins.plain_type(p.annotation)
        )
        for field, p in known.items()
        if field not in _GIVEN
    }


def build(
    settings: Mapping[str, Any],
    *,
    total_steps: int,
    batch_size: int,
    evaluations: int = 1,
    images: int = 1,
    classes: int = 1,
    shapes: allocate.Shapes,
    macs: Mapping[str, float] | None = None,
    axes: AxesTable | None = None,
    params: Any = None,
    groups: UnitGroups | None = None,
    sizes: Mapping[str, int] | None = None,
    costs: CostModel | None = None,
    output_layers: Collection[str] = (),
) -> Method:
    """Builds a method from a config's `method` section.

    Args:
      settings: `name`, and the method's own arguments: `allocation` and `seed_allocation` by name
        ("erk", "uniform", "global", "macs", "global_macs"), `select` by name ("exact_top_k", "2:4",
        "1:4", "4x4"), durations as steps, as a percentage of the run ("2%") or as "auto".
      total_steps: Length of the run.
      batch_size: Examples per step.
      evaluations: Evaluations on the validation examples in the run.
      images: Number of training examples.
      classes: Outputs of the network.
      shapes: Shapes of the masked leaves by path.
      macs: MACs of one weight by path, for the allocations "macs" and "global_macs".
      axes: `Axes` by path, if they differ from the convention.
      params: Parameters of the network, or their shapes, for methods that mask units.
      groups: Unit groups of the network, for the same methods (see `needs_unit_groups`).
      sizes: `{group: units}` of the supernet, if the network is smaller.
      costs: Costs of the supernet's units, for methods with a cost budget.
      output_layers: Paths of the output layers' weights (`units.output_layers`), for methods that
        treat them differently.

    Returns:
      The method.

    Raises:
      UserError: For an unknown name or argument, a wrong type, a value out of range, or a density
        that the allocation cannot meet.
    """
    arguments = {"name": None, **settings}
    function = find_method(arguments.pop("name"))
    known = plugins.parameters_of(function)
    if "groups" in known and groups is None:
        raise UserError("method.name", settings["name"], "a method for weights, without groups")
    choices = _choices(axes, macs or {})
    arguments |= duration.resolve(arguments, known, total_steps, evaluations)
    own = plugins.check_fields("method", settings["name"], function, arguments, _GIVEN)
    for name, value in arguments.items():
        field, kind = f"method.{name}", _kind(known[name])
        if kind is None:
            arguments[name] = check_one(field, value, known[name], len(shapes))
        else:
            arguments[name] = _choice(field, value, choices[kind])
    given = {
        "total_steps": total_steps,
        "batch_size": batch_size,
        "images": images,
        "classes": classes,
        "shapes": shapes,
        "params": params,
        "groups": groups,
        "sizes": sizes,
        "costs": costs,
        "output_layers": output_layers,
    }
    arguments |= {name: given[name] for name in _GIVEN if name in known}
    defaults = {n: known[n].default for n in own if known[n].default is not known[n].empty}
    whole = defaults | arguments
    if settings["name"] in METHODS:  # a user's method may use these names differently
        check_together(whole, total_steps, settings.get("select"))
    for name in whole:
        if "density" in whole and _kind(known[name]) == "allocation":
            check_density(whole["density"], whole[name], shapes)
    if settings["name"] in METHODS:
        return function(**arguments)
    allowed = "fields of which a method can be made"
    made = plugins.call_user("method", dict(settings), allowed, function, **arguments)
    return plugins.check_made("method.name", settings["name"], made, Method)


def _kind(parameter: inspect.Parameter) -> str | None:
    """Returns the key in `_choices` of a parameter, by its annotation; None if it has none."""
    types = {parameter.annotation, *typing.get_args(parameter.annotation)}
    kinds = {"allocation": allocate.Allocation, "select": select.Select}
    return next((kind for kind, own in kinds.items() if own in types), None)


def _choices(axes: AxesTable | None, macs: Mapping[str, float]) -> dict[str, dict[str, Callable]]:
    """Returns settings whose values are names: `{setting: {name: constructor of the value}}`."""
    allocations: dict[str, Callable] = {
        "erk": lambda: allocate.erk(axes=axes),
        "uniform": allocate.uniform,
        "global": allocate.global_,
        "macs": lambda: allocate.by_cost(macs),
        "global_macs": lambda: allocate.by_total_cost(macs),
    }
    selections: dict[str, Callable] = {
        "exact_top_k": lambda: None,  # the default of mask transforms
        "2:4": lambda: select.n_of_m(2, 4, axes),
        "1:4": lambda: select.n_of_m(1, 4, axes),
        "4x4": lambda: select.blocks((4, 4), axes),
    }
    return {"allocation": allocations, "select": selections}


def _choice(field: str, value: Any, choices: Mapping[str, Callable]) -> Any:
    check_choice(field, value, choices)
    with explained(field, value, "an allocation that the costs of the layers permit", ValueError):
        return choices[value]()
