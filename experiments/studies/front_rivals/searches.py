"""Searches over the network's widths, at several multiples of a front's training FLOPs."""

from collections.abc import Mapping
from typing import Any

import optuna

from experiments.studies.front_rivals.networks import (
    Context,
    epoch_steps,
    folder,
    train_flops,
    train_scratch,
)
from gpnas.search import History, evaluated, storage, value
from gpnas.search.build import build_search

STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "random search": {"name": "random"},
    "NSGA-II": {"name": "nsga2", "population": 6},
    "LEMONADE": {"name": "lemonade", "first": 6},
}
_SPACE = "experiments.studies.front_rivals.space:widths"
_ENDLESS = 10**6  # evaluations; the budget limits training FLOPs


def settings(context: Context, arm: str, seed: int) -> dict[str, Any]:
    """Returns the settings of a search, for `build_search`."""
    config = context.config
    optimizer, steps = config.front.optimizer, epoch_steps(context)
    child = config.child_epochs * steps
    return {
        "space": _SPACE,
        "network": {"levels": tuple(config.front.front)},
        "objectives": ("val_error", "log_macs"),
        "reports": ("macs",),
        "strategy": dict(STRATEGIES[arm]),
        "evaluations": _ENDLESS,
        "seed": seed,
        "training": {
            "steps": config.candidate_epochs * steps,
            "child_steps": child,
            "distil_steps": child // 4,
            "inherit": arm == "LEMONADE",
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
    own, name = settings(context, arm, seed), arm.replace(" ", "-")
    place = folder(context, f"{name}-{seed}")
    plan = build_search(own, place / "weights")
    place.mkdir(parents=True, exist_ok=True)
    flops = budget * context.fronts[seed]["train_flops"]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kept = storage.open_study(f"sqlite:///{place.absolute()}/search.db", name, plan.objectives, own)
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
    return _found(context, history, flops, seed)


def total_flops(context: Context, history: History) -> float:
    """Returns the training FLOPs of a history, without those of parents' outputs for
    distillation."""
    trials = [trial for trial in evaluated(history) if trial.repeats is None]
    return sum(train_flops(context, value(t, "macs"), value(t, "steps")) for t in trials)


def _found(context: Context, history: History, budget: float, seed: int) -> dict[str, Any]:
    """Trains the best networks of a search's beginning from scratch; a level may have none."""
    count = next(
        n for n in range(len(history), 0, -1) if total_flops(context, history[:n]) <= budget
    )
    past = evaluated(history[:count])
    whole = context.costs.macs(context.costs.whole)
    networks = []
    for level in context.config.front.front:
        fitting = [trial for trial in past if value(trial, "macs") <= level * whole]
        if not fitting:
            continue
        best = min(fitting, key=lambda trial: value(trial, "val_error"))
        found = train_scratch(context, best.architecture, seed)
        networks.append({"level": level, **found, "searched_error": value(best, "val_error")})
    return {
        "evaluations": len({trial.architecture for trial in past}),
        "networks": networks,
        "train_flops": total_flops(context, history[:count]),
        "retrain_flops": sum(one["train_flops"] for one in networks),
    }
