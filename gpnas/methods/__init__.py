"""Methods of the literature, each a short composition of `gpnas.masks`.

A method is a function with keyword arguments that returns a `Method`. To add your own, write such a
function in any module, and set `config.method.name = "your_module:your_function"`.

Namespaces: one per method (`rigl`, `lottery`, …), with its functions; `METHODS` has their
constructors by name. `duration` converts a config's percentages to steps.
"""

from gpnas.methods._match import match_flops, relative_flops
from gpnas.methods._method import (
    EvalContext,
    Forecast,
    Hooks,
    Method,
    all_ones,
    forecast_developmental,
    gated,
    mask_transform,
    rate_until,
    step_at,
)
from gpnas.methods._registry import METHODS, build, fields_of, find_method, needs_unit_groups
from gpnas.methods._training_cost import training_cost
from gpnas.plugins import In

__all__ = [
    "METHODS", "EvalContext", "Forecast", "Hooks", "In", "Method", "acdc",
    "all_ones", "build", "dense", "development", "development_cost", "development_units",
    "duration", "fields_of", "find_method", "forecast_developmental", "gated", "gmp", "granet",
    "iterative", "l0", "lottery", "mask_transform", "match_flops", "needs_unit_groups", "npn",
    "one_shot", "pipeline", "plateau", "rate_until", "relative_flops", "rigl", "sensitive", "set",
    "snfs", "snip", "sparse_vd", "static", "static_units", "ste", "step_at", "topkast",
    "training_cost",
]  # fmt: skip
