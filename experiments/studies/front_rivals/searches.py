"""Searches over the network's widths, at several multiples of a front's training FLOPs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna

from experiments.studies.front_rivals.networks import (
    Context,
    epoch_steps,
    folder,
    step_flops,
    train_flops,
    train_scratch,
)
from experiments.studies.front_rivals.space import Widths
from gpnas.search import History, Proposal, Propose, Space, evaluated, storage, value
from gpnas.search.build import build_search
from gpnas.search.strategies import bulk_and_cut
from gpnas.search.training import total_steps

BULK_AND_CUT = "BULK & CUT"
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "random search": {"name": "random"},
    "NSGA-II": {"name": "nsga2", "population": 6},
    "LEMONADE": {"name": "lemonade", "first": 6},
    BULK_AND_CUT: {"name": f"{__name__}:bulk_and_cut_by_flops"},
    "ASHA": {"name": "asha", "reduction": 4},
    "LaNAS": {"name": "lanas", "height": 3, "first": 6, "batch": 4},
}
#: Strategies with a single objective: each level has its own search, with an equal share of the
#: budget.
SINGLE = ("ASHA", "LaNAS")
#: Searches whose children inherit weights and are trained for fewer epochs.
INHERITING = ("LEMONADE", BULK_AND_CUT)
_FIRST, _BULK = 0.35, 0.40  # parts of BULK & CUT as fractions of its budget, as in the paper
_SPACE = "experiments.studies.front_rivals.space:widths"
_ENDLESS = 10**6  # evaluations; the budget limits training FLOPs


def bulk_and_cut_by_flops(
    space: Space, objectives: Sequence[str], flops: float, batch_size: int
) -> Propose:
    """BULK & CUT whose random and enlarged candidates take given fractions of the training FLOPs.

    Args:
      space, objectives: As for `gpnas.search.strategies.bulk_and_cut`.
      flops: Training FLOPs of the search.
      batch_size: Examples per training step.
    """

    def propose(history: History, rng: np.random.Generator) -> Proposal | None:
        trials = evaluated(history)
        each = [step_flops(value(t, "macs"), batch_size) * value(t, "steps") for t in trials]
        ends = np.array((_FIRST, _FIRST + _BULK)) * flops
        first, last = np.searchsorted(np.cumsum(each), ends) + 1  # beyond the trials: not yet spent
        return bulk_and_cut(space, objectives, int(first), int(last - first))(history, rng)

    return propose


def settings(
    context: Context, arm: str, seed: int, levels: Sequence[float], flops: float
) -> dict[str, Any]:
    """Returns the settings of a search at some levels, for `build_search`.

    Args:
      context: Context of the study.
      arm: One of `STRATEGIES`.
      seed: Seed of the search.
      levels: Costs of networks, as fractions of the whole network's.
      flops: Training FLOPs of the search.
    """
    config, strategy = context.config, dict(STRATEGIES[arm])
    optimizer, steps = config.front.optimizer, epoch_steps(context)
    child, network = config.child_epochs * steps, {"levels": tuple(levels)}
    if arm == "ASHA":
        strategy["budgets"] = (steps, config.candidate_epochs * steps)
    if arm == BULK_AND_CUT:
        strategy["flops"], strategy["batch_size"] = flops, config.front.train.batch_size
        network["sampled"] = (min(levels),)
    return {
        "space": _SPACE,
        "network": network,
        "objectives": ("val_error",) if arm in SINGLE else ("val_error", "log_macs"),
        "reports": ("macs",),
        "strategy": strategy,
        "evaluations": _ENDLESS,
        "seed": seed,
        "training": {
            "steps": config.candidate_epochs * steps,
            "child_steps": child,
            "distil_steps": child // 4,
            "inherit": arm in INHERITING,
            "batch_size": config.front.train.batch_size,
            "learning_rate": context.scratch_rate,
            "momentum": optimizer.arguments.momentum,
            "weight_decay": optimizer.weight_decay,
        },
        "data": config.front.data.to_dict(),
        "steps": 0,
        "together": 1,
    }


def run_search(context: Context, arm: str, seed: int, budget: float) -> dict[str, Any] | None:
    """Continues a search until a budget is spent, and trains the best networks from scratch.

    Args:
      context: Context of the study.
      arm: Name of the search.
      seed: Seed of the search.
      budget: Budget in training FLOPs of one front.

    Returns:
      The record; None if the study was stopped.
    """
    levels = tuple(context.config.front.front)
    parts = [(level,) for level in levels] if arm in SINGLE else [levels]
    flops = budget * context.fronts[seed]["train_flops"] / len(parts)
    histories, networks = [], []
    for part in parts:
        history = _search(context, arm, seed, part, flops)
        if history is None:
            return None
        histories.append(history)
        tried = [(t.architecture, value(t, "val_error")) for t in evaluated(history)]
        networks += best_from_scratch(context, tried, part, seed)
    return {
        "evaluations": sum(len({t.architecture for t in evaluated(own)}) for own in histories),
        "networks": networks,
        "epochs": sum(map(total_steps, histories)) / epoch_steps(context),
        "train_flops": sum(total_flops(context, own) for own in histories),
        "retrain_flops": sum(one["train_flops"] for one in networks),
    }


def _search(
    context: Context, arm: str, seed: int, levels: Sequence[float], flops: float
) -> History | None:
    """Continues a search and returns its longest beginning within a number of training FLOPs.

    The history is empty if the first candidate needs more; None if the study was stopped.
    """
    own, name = settings(context, arm, seed, levels, flops), arm.replace(" ", "-")
    at = f"-{levels[0]:g}" if arm in SINGLE else ""
    if arm == BULK_AND_CUT:  # the times of its parts depend on the budget
        at = f"-{flops:.4g}"
    place = folder(context, f"{name}{at}-{seed}")
    plan = build_search(own, place / "weights")
    place.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kept = storage.open_study(storage.sqlite_url(place / "search.db"), name, plan.objectives, own)
    storage.check_digests(kept, plan.digests)
    storage.wait_for_stale_trials(kept)
    history = storage.work_together(
        kept,
        plan.propose,
        plan.evaluate,
        plan.evaluations,
        lambda past: total_flops(context, past) > flops or context.options.stopped(),
        plan.together,
        seed,
    )
    if total_flops(context, history) <= flops or context.options.stopped():
        return None
    count = next(
        n for n in range(len(history), -1, -1) if total_flops(context, history[:n]) <= flops
    )
    return history[:count]


def total_flops(context: Context, history: History) -> float:
    """Returns the training FLOPs of a history, without those of parents' outputs for
    distillation."""
    trials = [trial for trial in evaluated(history) if trial.repeats is None]
    return sum(train_flops(context, value(t, "macs"), value(t, "steps")) for t in trials)


def best_from_scratch(
    context: Context, tried: Sequence[tuple[Widths, float]], levels: Sequence[float], seed: int
) -> list[dict[str, Any]]:
    """Trains the best networks of a search from scratch; a level may have none.

    Args:
      context: Context of the study.
      tried: Widths and validation error of each network of the search.
      levels: Costs, as fractions of the whole network's.
      seed: Seed of the runs.
    """
    whole, networks = context.costs.macs(context.costs.whole), []
    for level in levels:
        fitting = [one for one in tried if context.costs.macs(one[0]) <= level * whole]
        if fitting:
            widths, error = min(fitting, key=lambda one: one[1])
            found = train_scratch(context, widths, seed)
            networks.append({"level": level, **found, "searched_error": error})
    return networks
