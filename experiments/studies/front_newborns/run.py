"""Runs of the study: norms of gradients per unit after each mask update."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.studies.front_newborns.config import ARMS
from experiments.studies.front_rivals.networks import development
from experiments.studies.stepwise import advancing, batches, initial
from experiments.studies.study import Options
from gpnas import masks as gm
from gpnas import units
from gpnas.data import Dataset, standardize
from gpnas.provenance import provenance
from gpnas.records import append_line, read_lines
from gpnas.train import Plan, TrainState, load_data, make_plan, make_program, make_step

SIDES = ("incoming", "outgoing")
Values = Mapping[str, np.ndarray]  # (units,) by group


class Course(NamedTuple):
    """What a run does to its units.

    Attributes:
      active: Whether each unit is active: before the first mask update, then after each.
      norms: For each mask update and age below the interval between two: norm of the gradient of
        each unit's weights, by side.
      val_error: Validation error at the end, in %.
    """

    active: Sequence[Values]
    norms: Sequence[Mapping[int, Mapping[str, Values]]]
    val_error: float


def measure_missing(config: ConfigDict, options: Options) -> None:
    """Appends the missing records, one per arm and seed."""
    path = options.results / config.study / "records.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = load_data(config.front)
    for arm in config.arms:
        first = config.seed_cost * config.level
        for seed in config.seeds:
            done = {(record["arm"], record["seed"]) for record in read_lines(path)}
            if (arm, seed) in done or options.stopped():
                continue
            begun = time.perf_counter()
            settings = development(config, (first, config.level), ARMS[arm], seed, config.rate)
            settings.elastic = False
            course, every = follow(settings, data, config.ages, config.examples)
            found: dict[str, Any] = {
                side: {str(age): relative_norm(course, side, age, every) for age in config.ages}
                for side in SIDES
            }
            found["val_error"] = course.val_error
            about = {"study": config.study, "arm": arm, "seed": seed, "config": settings.to_dict()}
            wall = round(time.perf_counter() - begun, 3)
            append_line(path, about | found | provenance() | {"wall_s": wall})


def follow(
    settings: ConfigDict, data: Dataset, ages: Sequence[int], examples: int
) -> tuple[Course, int]:
    """Trains a network and measures gradients after each mask update.

    Args:
      settings: Config of the run.
      data: The data set.
      ages: Steps since a mask update at which gradients are measured.
      examples: Number of training images of which the gradient is taken.

    Returns:
      What the run did, and the number of steps between two mask updates.
    """
    plan = make_plan(settings, data)
    every, groups = plan.durations["every"], units.groups_in_params(plan.groups)
    grow = advancing(make_step(plan.task, plan.method, plan.tx), data, every)
    norms_of = unit_norms(plan, data, groups, examples)
    rows, state = batches(plan, data, settings.seed), initial(plan, plan.method, settings.seed)
    stops = sorted({age % every for age in ages})
    active, norms = [_active(groups, state)], []
    state = grow(state, rows[:every])
    last = len(rows) // every * every
    for at in range(every, last, every):
        state, found, before = grow(state, rows[at : at + 1]), {}, 0
        active.append(_active(groups, state))
        for age in stops:
            if age > before:
                state, before = grow(state, rows[at + 1 + before : at + 1 + age]), age
            found[age] = norms_of(state)
        norms.append(found)
        if before < every - 1:
            state = grow(state, rows[at + 1 + before : at + every])
    if last < len(rows):
        state = grow(state, rows[last:])
    evaluate = make_program(plan, data).evaluate
    error = evaluate({"params": state.params, **state.model_state}, data.validation)["error"]
    return Course(active, norms, 100 * error), every


def unit_norms(
    plan: Plan, data: Dataset, groups: units.UnitGroups, examples: int
) -> Callable[[TrainState], dict[str, dict[str, np.ndarray]]]:
    """Returns `state → {side: {group: (units,) norm of the gradient of active weights}}`."""
    batch = standardize(jnp.asarray(data.train.inputs[:examples]), data)
    targets = jnp.asarray(data.train.targets[:examples])

    @jax.jit
    def norms(state: TrainState) -> dict[str, dict[str, jax.Array]]:
        def loss(params: Any) -> jax.Array:
            variables = {"params": params, **state.model_state}
            return plan.task.loss(variables, (batch, targets), state.key)[0]

        gradient = gm.apply(state.masks, jax.grad(loss)(gm.apply(state.masks, state.params)))
        squares = jax.tree.map(jnp.square, gradient)
        return {
            side: {
                name: jnp.sqrt(total)
                for name, total in units.score.sum_per_unit(groups, squares, side).items()
            }
            for side in SIDES
        }

    return lambda state: jax.tree.map(np.asarray, norms(state))


def relative_norm(course: Course, side: str, age: int, every: int) -> float:
    """Returns the norm of the gradient of grown units, relative to that of earlier ones.

    Within a layer and mask update, it is the mean over units grown then, divided by the mean over
    units active before; units that do not stay active until that age do not count. It is averaged
    over layers and mask updates by the number of grown units.

    Args:
      course: What a run did.
      side: "incoming" or "outgoing" weights of a unit.
      age: Steps since the mask update.
      every: Steps between two mask updates.
    """
    ratios, counts = [], []
    later, offset = divmod(age, every)
    for at in range(len(course.norms) - later):
        for name, norm in course.norms[at + later][offset][side].items():
            before = course.active[at][name]
            stays = np.all([one[name] for one in course.active[at + 1 : at + later + 2]], axis=0)
            grown, known = stays & ~before, stays & before
            if grown.any() and norm[known].any():
                ratios.append(norm[grown].mean() / norm[known].mean())
                counts.append(grown.sum())
    return float(np.average(ratios, weights=counts))


def _active(groups: units.UnitGroups, state: TrainState) -> dict[str, np.ndarray]:
    return units.active_units(groups, jax.device_get(state.masks))
