"""Runs of the study: each baseline of the front, at learning rates chosen by the tuning seeds."""

import itertools
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments.studies.front.run import FIELDS, LONG, chosen_rates
from experiments.studies.front_rivals.growing import METHODS, OVERSHOOT, develop_each
from experiments.studies.front_rivals.networks import (
    Context,
    costs_of,
    epoch_steps,
    train_flops,
    train_scratch,
)
from experiments.studies.front_rivals.peers import PEERS, installed, train_peer
from experiments.studies.front_rivals.searches import STRATEGIES, run_search
from experiments.studies.front_rivals.slimmable import train_slimmable
from experiments.studies.front_rivals.space import random_widths, scaled, uniform_fraction
from experiments.studies.front_rivals.weight_sharing import SHARING, train_shared
from experiments.studies.study import Options
from gpnas.errors import UserError
from gpnas.provenance import provenance
from gpnas.records import append_line, read_lines
from gpnas.train import load_data

_FRONT = "front"  # the arm, and the study whose records this one needs
#: Arms that train the widths of other arms from scratch: by arm, the other one, and whether it
#: belongs to the study `front`.
_WIDTHS_OF: Mapping[str, tuple[str, bool]] = {
    f"widths of {name}": (name, shrinks)
    for name, shrinks in (
        ("pruning only", False), ("growing only", False),
        ("random units", True), ("equal shares", True),
    )
}  # fmt: skip
TUNED = ("pruning only", "growing only", "slimmable", *PEERS)  # tuned on the tuning seeds
SEARCHES = (*STRATEGIES, SHARING)  # each with several budgets
# Arms that share the settings of another one.
_AS = dict.fromkeys(("random growth", "growing with exchange", "overshoot"), "growing only")


class Case(NamedTuple):
    """One training of the study.

    Attributes:
      arm: One of the config's.
      seed: Seed of the run.
      rate: Learning rate.
      largest: Cost of a slimmable network's largest width; 1 for other arms.
      budget: Budget of a search, in training FLOPs of one front; 0 for other arms.
    """

    arm: str
    seed: int
    rate: float
    largest: float = 1.0
    budget: float = 0.0


def run(config: ConfigDict, options: Options) -> None:
    """Appends the missing records.

    Raises:
      UserError: If the study `front` has no record of a seed.
    """
    path = options.results / config.study / "records.jsonl"
    context = make_context(config, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    arms = config.only.split(",") if config.only else installed(config.arms)
    tuned = [arm for arm in TUNED if arm in {_AS.get(name, name) for name in arms}]
    for seed, arm in itertools.product(config.tuning_seeds, tuned):
        for case in variants(config, arm, seed):
            _once(context, case, path)
    for seed, arm in itertools.product(config.seeds, arms):
        if not options.stopped():
            case = chosen(read_lines(path), config, arm) or Case(arm, 0, context.scratch_rate)
            for budget in sorted(config.budgets) if arm in SEARCHES else (0.0,):
                _once(context, case._replace(seed=seed, budget=float(budget)), path)


def fronts_of(
    records: Sequence[Mapping[str, Any]], config: ConfigDict, arm: str = _FRONT
) -> dict[int, Any]:
    """Returns the fronts of an arm at the learning rate chosen for fronts, by seed."""
    rate = chosen_rates(list(records), config)["networks"]
    wanted = [r for r in records if r["arm"] == arm and r["rate"] == rate]
    return {record["seed"]: record for record in wanted}


def uniform_of(records: Sequence[Mapping[str, Any]], config: ConfigDict) -> dict[int, Any]:
    """Returns networks of uniform widths at their chosen learning rate, and their training FLOPs,
    by seed."""
    rate = chosen_rates(list(records), config)["uniform"]
    return {
        record["seed"]: {
            "networks": record["uniform"],
            "train_flops": sum(one["train_flops"] for one in record["uniform"]),
        }
        for record in records
        if record["rate"] == rate and record["uniform"]
    }


def variants(config: ConfigDict, arm: str, seed: int) -> Iterator[Case]:
    """Yields the settings that the tuning seeds try for an arm."""
    sizes = config.largest if arm == "slimmable" else (1.0,)
    for rate, largest in itertools.product(config.rates, sizes):
        yield Case(arm, seed, rate, largest)


def reference_error(records: Sequence[Mapping[str, Any]], config: ConfigDict) -> float:
    """Returns the mean test error of the smallest uniform networks of the tuning seeds.

    Args:
      records: Records of the study `front`.
      config: Config of this study.
    """
    rate, level = chosen_rates(list(records), config)["uniform"], min(config.front.front)
    return float(np.mean([
        one["test_error"]
        for record in records
        if record["seed"] in config.tuning_seeds and record["rate"] == rate
        for one in record["uniform"]
        if one["level"] == level
    ]))  # fmt: skip


def chosen(records: Sequence[Mapping[str, Any]], config: ConfigDict, arm: str) -> Case | None:
    """Returns the settings of an arm with the lowest mean validation error on the tuning seeds.

    Returns:
      A case with seed 0; None for an arm that is not tuned.
    """
    errors: dict[Case, list[float]] = {}
    for record in records:
        if record["arm"] == _AS.get(arm, arm) and record["seed"] in config.tuning_seeds:
            case = Case(arm, 0, record["rate"], record["largest"])
            errors.setdefault(case, []).extend(one["val_error"] for one in record["networks"])
    return min(errors, key=lambda case: float(np.mean(errors[case])), default=None)


def chosen_records(records: Sequence[Mapping[str, Any]], config: ConfigDict) -> list[Mapping]:
    """Returns the records of the study's seeds in the order of arms, at the chosen settings."""
    found = []
    for arm in config.arms:
        own = [r for r in records if r["arm"] == arm and r["seed"] in config.seeds]
        case = chosen(records, config, arm)
        same = ("rate", "largest")
        found += [r for r in own if case is None or all(r[x] == getattr(case, x) for x in same)]
    return found


def _case(record: Mapping[str, Any]) -> Case:
    return Case(*(record[field] for field in Case._fields))


def make_context(config: ConfigDict, options: Options) -> Context:
    """Returns the common settings of runs.

    Raises:
      UserError: If the study `front` has no record of a seed.
    """
    path = options.results / _FRONT / "records.jsonl"
    found = read_lines(path)
    tuned = {r["seed"] for r in found if r["arm"] == _FRONT} >= {*config.tuning_seeds}
    fronts = fronts_of(found, config) if tuned else {}
    if missing := sorted({*config.tuning_seeds, *config.seeds} - fronts.keys()):
        allowed = f"records of fronts with the seeds {missing}: reproduce front"
        raise UserError("results", str(path), allowed)
    rate, data = chosen_rates(found, config)["uniform"], load_data(config.front)
    return Context(config, options, data, costs_of(config, data), fronts, rate)


def _once(context: Context, case: Case, path: pathlib.Path) -> None:
    if case in map(_case, read_lines(path)) or context.options.stopped():
        return
    begun = time.perf_counter()
    found = _RUNS[case.arm](context, case)
    if found is None:
        return
    front = context.fronts[case.seed]
    about = {
        "study": context.config.study,
        **case._asdict(),
        "config": context.config.to_dict(),
        **provenance(),
        "dataset_sha256": context.data.sha256,
        "train_flops_dense": front["train_flops_dense"],
        "train_flops_front": front["train_flops"],
        "wall_s": round(time.perf_counter() - begun, 3),
    }
    append_line(path, about | found)


def _together(networks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    flops = sum(one["train_flops"] for one in networks)
    return {"networks": list(networks), "train_flops": flops}


def _front_widths(context: Context, case: Case) -> dict[str, Any]:
    return _together([
        {"level": one["level"]}
        | train_scratch(context, tuple(one["units"].values()), case.seed)
        for one in context.fronts[case.seed]["networks"]
    ])  # fmt: skip


def _uniform(context: Context, case: Case, front: str) -> dict[str, Any]:
    """Trains uniform networks at a front's levels, each as long as its main run and a branch."""
    fields = context.config.front.copy_and_resolve_references()
    fields.update(FIELDS[front])
    epochs, costs = fields.train.epochs + fields.branch_epochs, context.costs
    return _together([
        {"level": level} | train_scratch(
            context, scaled(costs.whole, uniform_fraction(costs, level)), case.seed, epochs
        )
        for level in fields.front
    ])  # fmt: skip


def _uniform_with_flops(context: Context, case: Case, front: str) -> dict[str, Any]:
    """Trains uniform networks at a front's levels, together with the training FLOPs of the
    front."""
    costs, levels = context.costs, context.config.front.front
    widths = [scaled(costs.whole, uniform_fraction(costs, level)) for level in levels]
    macs = sum(costs.macs(one) for one in widths)
    spent = _record(context, front, case.seed, of_front=True)["train_flops"]
    epochs = round(spent / train_flops(context, macs, epoch_steps(context)))
    return _together([
        {"level": level, "epochs": epochs, **train_scratch(context, one, case.seed, epochs)}
        for level, one in zip(levels, widths, strict=True)
    ])  # fmt: skip


def _uniform_as_overshoot(context: Context, case: Case) -> dict[str, Any]:
    """Trains uniform networks, each with the training FLOPs of the overshoot at its level."""
    costs, networks = context.costs, []
    for one in _record(context, OVERSHOOT, case.seed)["networks"]:
        widths = scaled(costs.whole, uniform_fraction(costs, one["level"]))
        epoch = train_flops(context, costs.macs(widths), epoch_steps(context))
        epochs = max(round(one["train_flops"] / epoch), 1)
        found = train_scratch(context, widths, case.seed, epochs)
        networks.append({"level": one["level"], "epochs": epochs, **found})
    return _together(networks)


def _other_widths(context: Context, case: Case) -> dict[str, Any]:
    """Trains the networks of another arm from scratch, with the same seed."""
    other, of_front = _WIDTHS_OF[case.arm]
    return _together([
        {"level": one["level"]}
        | train_scratch(context, tuple(one.get("widths") or one["units"].values()), case.seed)
        for one in _record(context, other, case.seed, of_front=of_front)["networks"]
    ])  # fmt: skip


def _record(context: Context, arm: str, seed: int, *, of_front: bool = False) -> Mapping[str, Any]:
    """Returns the record of another arm, of this study or of `front`.

    Raises:
      UserError: If there is none.
    """
    config = context.config
    path = context.options.results / (_FRONT if of_front else config.study) / "records.jsonl"
    known = read_lines(path)
    found = fronts_of(known, config, arm) if of_front else _of_arm(known, config, arm)
    if seed not in found:
        source = _FRONT if of_front else repr(arm)
        allowed = f"a record of {arm} with the seed {seed}: reproduce {source}"
        raise UserError("results", str(path), allowed)
    return found[seed]


def _of_arm(records: Sequence[Mapping[str, Any]], config: ConfigDict, arm: str) -> dict[int, Any]:
    return {r["seed"]: r for r in chosen_records(records, config) if r["arm"] == arm}


def _random_widths(context: Context, case: Case) -> dict[str, Any]:
    """Returns the best of several random networks on the validation images, at each level."""
    networks = []
    for number, level in enumerate(context.config.front.front):
        rng = np.random.default_rng((case.seed, number))
        limit = level * context.costs.macs(context.costs.whole)
        drawn = [random_widths(context.costs, limit, rng) for _ in range(context.config.draws)]
        tried = [train_scratch(context, widths, case.seed) for widths in drawn]
        best = min(tried, key=lambda one: one["val_error"])
        flops = sum(one["train_flops"] for one in tried)
        networks.append({"level": level, **best, "train_flops": flops, "tried": tried})
    return _together(networks)


_RUNS: Mapping[str, Callable[[Context, Case], dict[str, Any] | None]] = {
    "front's widths": _front_widths,
    "uniform as long": lambda context, case: _uniform(context, case, _FRONT),
    "uniform as long as six": lambda context, case: _uniform(context, case, "six networks"),
    "uniform three times as long": lambda context, case: _uniform_with_flops(context, case, LONG),
    **dict.fromkeys(
        METHODS,
        lambda context, case: _together(develop_each(context, case.arm, case.seed, case.rate)),
    ),
    "uniform as overshoot": _uniform_as_overshoot,
    **dict.fromkeys(_WIDTHS_OF, _other_widths),
    "random widths": _random_widths,
    "slimmable": lambda context, case: train_slimmable(context, case.seed, case.rate, case.largest),
    **dict.fromkeys(
        PEERS, lambda context, case: train_peer(context, case.arm, case.seed, case.rate)
    ),
    **dict.fromkeys(
        STRATEGIES, lambda context, case: run_search(context, case.arm, case.seed, case.budget)
    ),
    SHARING: lambda context, case: train_shared(context, case.seed, case.budget),
}
