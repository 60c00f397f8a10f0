"""Runs of the study: masks and scores after each mask update, then training of the final mask."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from scipy.stats import spearmanr

from experiments.studies.coupling.arms import OURS, config_of
from experiments.studies.coupling.config import weight_decay
from experiments.studies.coupling_mechanism.fields import receptive_fields
from experiments.studies.stepwise import advancing, batches, initial
from experiments.studies.study import Options
from gpnas import masks as gm
from gpnas.data import Dataset
from gpnas.masks import score
from gpnas.methods import dense
from gpnas.provenance import provenance
from gpnas.records import append_line, read_lines
from gpnas.train import (
    Plan,
    TrainState,
    load_data,
    make_plan,
    make_program,
    make_step,
)

_FRESH = 1000  # added to a seed: that of new initial weights


class Course(NamedTuple):
    """Masks of a run, as flat arrays over all masked weights.

    Attributes:
      active: (updates, weights) bool, after each mask update; the first before any.
      gain: (updates, weights) float32, V at each update; empty if the arm has no V.
      cost: The same for U.
      state: The final state.
    """

    active: np.ndarray
    gain: np.ndarray
    cost: np.ndarray
    state: TrainState


class Programs(NamedTuple):
    """Compiled programs of an arm.

    Attributes:
      plan: Plan of the runs.
      data: The data set.
      evaluate: `(variables, split) → metrics`.
      grow: `(state, rows) → state`: steps of the arm's method on the examples `rows`.
      hold: The same with fixed masks.
      scores: `(state → V, state → U)` by path; empty if the arm does not grow by V.
    """

    plan: Plan
    data: Dataset
    evaluate: Callable[..., dict[str, float]]
    grow: Callable[[TrainState, np.ndarray], TrainState]
    hold: Callable[[TrainState, np.ndarray], TrainState]
    scores: Sequence[Callable[[TrainState], Any]]


def measure_missing(config: ConfigDict, options: Options) -> None:
    """Appends the missing records, one per arm and seed."""
    path = options.results / config.study / "records.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    done = {(record["arm"], record["seed"]) for record in read_lines(path)}
    for arm in config.arms:
        settings = config_of(arm, config.density, weight_decay(arm, config.density))
        missing = [seed for seed in config.seeds if (arm, seed) not in done]
        programs = make_programs(settings, load_data(settings), arm == OURS) if missing else None
        for seed in missing:
            if programs is None or options.stopped():
                return
            begun = time.perf_counter()
            found = measure(programs, config, seed, retrain=arm in config.retrained)
            about = {"study": config.study, "arm": arm, "seed": seed, "config": settings.to_dict()}
            wall = round(time.perf_counter() - begun, 3)
            append_line(path, about | found | provenance() | {"wall_s": wall})


def make_programs(settings: ConfigDict, data: Dataset, by_gain: bool) -> Programs:
    """Compiles the programs of an arm.

    Args:
      settings: Config of the runs.
      data: The data set.
      by_gain: Whether the arm grows weights by V.
    """
    plan = make_plan(settings, data)
    every, fixed = plan.durations["every"], dense.dense()
    return Programs(
        plan,
        data,
        make_program(plan, data).evaluate,
        advancing(make_step(plan.task, plan.method, plan.tx), data, every),
        advancing(make_step(plan.task, fixed, plan.tx, kind="plain"), data, every),
        _scores(plan) if by_gain else (),
    )


def measure(programs: Programs, config: ConfigDict, seed: int, retrain: bool) -> dict[str, Any]:
    """Trains one network and returns what its mask updates did, as fields of a record.

    Args:
      programs: Programs of the arm.
      config: Config of the study.
      seed: Seed of the run.
      retrain: Whether the final mask is trained again.
    """
    course = follow(programs, seed)
    masks = course.state.masks
    layers = gm.masked_leaves(masks)
    found = {
        "survival": survival(course.active, config.ages),
        "ever_active": float(course.active.any(0).mean()),
        "layers": {path: float(leaf.mean()) for path, leaf in layers.items()},
        "fields": receptive_fields(np.asarray(next(iter(layers.values())))),
        "val_error": _error(programs, course.state),
    }
    if course.gain.size:
        found["gain"] = gain_relation(course, config.age)
    if retrain:
        found["retrained"] = {
            "initial weights": train_masked(programs, seed, seed, masks),
            "new weights": train_masked(programs, seed, seed + _FRESH, masks),
            "shuffled mask": train_masked(programs, seed, seed, shuffled(masks, seed)),
        }
    return found


def follow(programs: Programs, seed: int) -> Course:
    """Trains a network and keeps masks and scores at each mask update."""
    plan, grow = programs.plan, programs.grow
    every, rows = plan.durations["every"], batches(plan, programs.data, seed)
    state = initial(plan, plan.method, seed)
    masks, values = [_flat(state.masks, gm.masked_leaves(state.masks))], []
    state = grow(state, rows[:every])
    for at in range(every, len(rows), every):
        state = grow(state, rows[at : at + 1])  # masks change in this step
        masks.append(_flat(state.masks, gm.masked_leaves(state.masks)))
        values.append([_flat(state.masks, value(state)) for value in programs.scores])
        state = grow(state, rows[at + 1 : at + every])
    gains, costs = (
        np.stack([own[i] for own in values]) if programs.scores else np.empty(0) for i in (0, 1)
    )
    return Course(np.stack(masks), gains, costs, state)


def train_masked(programs: Programs, seed: int, weights_seed: int, masks: Any) -> float:
    """Trains a network with fixed masks; returns its validation error in %.

    Args:
      programs: Programs of the arm; its method is not used.
      seed: Seed of the order of examples.
      weights_seed: Seed of the initial weights.
      masks: The masks.
    """
    plan = programs.plan
    state = initial(plan, dense.dense(), weights_seed)
    state = dataclasses.replace(state, params=gm.apply(masks, state.params), masks=masks)
    rows, every = batches(plan, programs.data, seed), plan.durations["every"]
    for at in range(0, len(rows), every):
        state = programs.hold(state, rows[at : at + every])
    return _error(programs, state)


def survival(active: np.ndarray, ages: Sequence[int]) -> dict[str, float]:
    """Returns the fraction of grown weights that stay active, by age in mask updates.

    Args:
      active: (updates, weights) bool.
      ages: Ages; a weight counts for an age if the run has as many updates after its growth.

    Returns:
      `{age: fraction}` of the weights of all mask updates, and "end", at the end of the run.
    """
    grown = active[1:] & ~active[:-1]
    kept: dict[str, list[tuple[int, int]]] = {}
    for at in np.flatnonzero(grown.any(1)):
        alive = np.logical_and.accumulate(active[at + 1 :, grown[at]], axis=0).sum(1)
        for age in ages:
            if age < len(alive):
                kept.setdefault(str(age), []).append((alive[age], alive[0]))
        kept.setdefault("end", []).append((alive[-1], alive[0]))
    return {age: float(np.divide(*np.sum(counts, 0))) for age, counts in kept.items()}


def gain_relation(course: Course, age: int) -> dict[str, float]:
    """Relates V of grown weights, when they are grown, to what becomes of them.

    Args:
      course: Masks and scores of a run.
      age: Mask updates after growth at which weights are judged.

    Returns:
      Spearman's correlation of V with U at that age among weights that are still active, and the
      survival of the quarters of weights with the highest and the lowest V; within one mask update,
      and averaged over updates by the number of weights.
    """
    grown = course.active[1:] & ~course.active[:-1]
    rows, sizes = [], []
    for at in np.flatnonzero(grown.any(1)):
        alive = np.min(course.active[at + 1 : at + age + 2, np.flatnonzero(grown[at])], 0)
        if at + age >= len(course.cost) or alive.sum() < 2:
            continue
        gain, cost = course.gain[at][grown[at]], course.cost[at + age][grown[at]]
        order = np.argsort(gain, kind="stable")
        quarter = max(len(order) // 4, 1)
        high, low = alive[order[-quarter:]].mean(), alive[order[:quarter]].mean()
        rows.append((spearmanr(gain[alive], cost[alive]).statistic, high, low))
        sizes.append(len(order))
    correlation, high, low = np.average(rows, 0, sizes)
    return {"correlation": float(correlation), "high": float(high), "low": float(low)}


def shuffled(masks: Any, seed: int) -> Any:
    """Returns masks with the entries of each masked leaf permuted."""
    rng = np.random.default_rng(seed)
    leaves = {
        path: jnp.asarray(rng.permutation(np.asarray(mask).ravel()).reshape(mask.shape))
        for path, mask in gm.masked_leaves(masks).items()
    }
    return gm.update_leaves(masks, leaves)


def _scores(plan: Plan) -> tuple[Callable[[TrainState], Any], ...]:
    """Returns `state → V` and `state → U`, by path of the masked leaves."""

    def values(own: score.Score, state: TrainState) -> Any:
        params = gm.masked_leaves(state.masks, state.params)
        context = gm.MaskContext(step=state.step, params=params, grads=params, key=state.key)
        return own.value(state.mask_state.statistics, context)

    makers = (score.growth_gain, score.removal_cost)
    return tuple(functools.partial(values, make(0.9, plan.batch_size)) for make in makers)


def _flat(masks: Any, leaves: Mapping[str, Any]) -> np.ndarray:
    """Concatenates values by path in the order of the masked leaves."""
    return np.concatenate([np.asarray(leaves[path]).ravel() for path in gm.masked_leaves(masks)])


def _error(programs: Programs, state: TrainState) -> float:
    variables = {"params": state.params, **state.model_state}
    return 100 * programs.evaluate(variables, programs.data.validation)["error"]
