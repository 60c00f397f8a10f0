"""Regularizers that decay insensitive weights, then prune at validation-loss plateaus.

Three papers share one pruning loop (see `plateau`) and differ in the sensitivity: of the outputs to
a weight, of the loss to a weight, or of the outputs to a neuron.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import optax

from gpnas._settings import Count, Density, Fraction, NonNegative
from gpnas.errors import UserError
from gpnas.masks import stateful_identity
from gpnas.methods._method import EvalContext, Forecast, Hooks, Method, rate_until, step_at
from gpnas.methods.plateau import init_plateau, prune_at_plateaus
from gpnas.plugins import In
from gpnas.sensitivity import Sensitivity, neurons, shrink, weights

# The sensitivity by kind, and the cost of one evaluation by the number of outputs; a step costs 1.
_Kinds = Mapping[str, tuple[Sensitivity, Callable[[int], float]]]
_OF_WEIGHTS: _Kinds = {
    "unspecified": (weights.unspecified, lambda classes: (1 + 2 * classes) / 3),
    "unspecified_per_example": (
        weights.unspecified_per_example,
        lambda classes: (2 + classes) / 3,
    ),
    "specified": (weights.specified, lambda classes: 1.0),
}
_OF_NEURONS: Mapping[str, tuple[Callable[..., neurons.Neurons], Callable[[int], float]]] = {
    "exact": (neurons.exact, lambda classes: (1 + classes) / 3),
    "lower_bound": (neurons.lower_bound, lambda classes: 2 / 3),
    "upper_bound": (neurons.upper_bound, lambda classes: 0.0),
    "local": (neurons.local, lambda classes: 1 / 3),
}


def sensitivity(
    *,
    density: Density,
    total_steps: int,
    classes: int,
    kind: Literal["unspecified", "unspecified_per_example", "specified"] = "unspecified",
    rate: NonNegative = 1e-4,
    refresh: Count = 1,
    patience: Count,
    slack: Annotated[float, In(-1, open="low")] = 0.01,
    tolerance: NonNegative = 0.05,
    stop_at: Fraction = 0.9,
) -> Method:
    """Applies sensitivity-driven regularisation: w ← w − η · ∂L/∂w − λ · w · [1 − S]₊.

    Args:
      density: Lower bound on the density, in (0, 1].
      total_steps: Length of the run.
      classes: Outputs of the network.
      kind: "unspecified": `S = (1/C) · Σ_k |∂y_k/∂w|`, y the batch mean of the logits;
        "unspecified_per_example": the batch mean of this S, for networks of dense layers;
        "specified": the output of the target class only.
      rate: λ per step, 0 or more.
      refresh: Steps between evaluations of S.
      patience: Number of consecutive bad evaluations on the validation examples that defines a
        plateau.
      slack: An evaluation is good if its loss is below (1 + slack) · best.
      tolerance: Relative increase of the validation loss that pruning may cause.
      stop_at: End of decay and pruning, as a fraction of the run.

    References:
      Tartaglione et al. 2018 (arXiv:1810.11764), equations 2 to 9; the loop is LOBSTER's.
    """
    found, cost = _OF_WEIGHTS[kind]
    stop = step_at(stop_at, total_steps)
    prune = prune_at_plateaus(patience, slack, tolerance, density, stop)
    regulariser = shrink(rate_until(stop, rate), found, refresh)
    return _method(regulariser, prune, 1 + cost(classes) / refresh)


def lobster(
    *,
    density: Density,
    total_steps: int,
    rate: NonNegative = 1e-4,
    patience: Count,
    slack: Annotated[float, In(-1, open="low")] = 0.01,
    tolerance: NonNegative = 0.05,
    stop_at: Fraction = 0.9,
) -> Method:
    """Applies LOBSTER, loss-based sensitivity regularisation: `S = |∂L/∂w|`.

    Args:
      density, total_steps, rate, patience, slack, tolerance, stop_at: As for `sensitivity`.

    References:
      Tartaglione et al. 2020 (arXiv:2011.09905), equations 3 to 8.
    """
    stop = step_at(stop_at, total_steps)
    prune = prune_at_plateaus(patience, slack, tolerance, density, stop)
    return _method(shrink(rate_until(stop, rate), weights.of_loss), prune, 1.0)


def serene(
    *,
    density: Density,
    total_steps: int,
    classes: int,
    kind: Literal["exact", "lower_bound", "upper_bound", "local"] = "lower_bound",
    positions: neurons.Positions = "mean",
    rate: NonNegative = 1e-4,
    refresh: Count = 1,
    patience: Count,
    slack: Annotated[float, In(-1, open="low")] = 0.01,
    tolerance: NonNegative = 0.05,
    stop_at: Fraction = 0.9,
) -> Method:
    """Applies SeReNe: incoming weights decay by λ · w · [1 − S_i]₊, S_i their neuron's sensitivity.

    Args:
      density, total_steps, classes, rate, refresh, patience, slack, tolerance, stop_at: As for
        `sensitivity`.
      kind: "exact", "lower_bound", "upper_bound" or "local", see `gpnas.sensitivity.neurons`.
      positions: Whether S of a filter is the "mean" or the "sum" over the positions of its output;
        only "exact" and "lower_bound" have a sum.

    Raises:
      UserError: If `kind` has no sum.

    References:
      Tartaglione et al. 2021 (arXiv:2102.03773), equations 3 to 12.
    """
    of_neurons, cost = _OF_NEURONS[kind]
    if positions == "sum":
        if kind not in ("exact", "lower_bound"):
            raise UserError("method.positions", positions, f'"mean", with kind "{kind}"')
        of_neurons = functools.partial(of_neurons, positions=positions)
    found = neurons.on_incoming(of_neurons)
    stop = step_at(stop_at, total_steps)
    prune = prune_at_plateaus(patience, slack, tolerance, density, stop)
    regulariser = shrink(rate_until(stop, rate), found, refresh)
    return _method(regulariser, prune, 1 + cost(classes) / refresh)


def _method(
    regulariser: optax.GradientTransformation,
    prune: Callable[[Any, EvalContext], Any],
    relative_step_cost: float,
) -> Method:
    def wrap(tx: optax.GradientTransformation) -> optax.GradientTransformation:
        return optax.chain(optax.with_extra_args_support(tx), regulariser)

    return Method(
        stateful_identity(init_plateau),
        Forecast(relative_step_cost=relative_step_cost, adaptive=True),
        wrap=wrap,
        hooks=Hooks(on_eval=prune),
    )
