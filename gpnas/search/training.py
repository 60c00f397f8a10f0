"""Evaluation of candidates by training, from new or inherited weights."""

import functools
import itertools
import pathlib
import statistics
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gpnas._files import PathLike, tuples
from gpnas.data import Dataset, standardize
from gpnas.errors import UserError
from gpnas.models import call
from gpnas.search._fit import SGD, Job, make_programs
from gpnas.search._history import History, Trial, evaluated, value
from gpnas.search._jobs import Recipe, TrainingContext, jobs_of
from gpnas.search._outcome import Failed, Outcome, attempt
from gpnas.search._run import EvaluateAll
from gpnas.search._space import Space
from gpnas.search._task import CLASSIFICATION, Training
from gpnas.search._weights import StoredWeights, load_weights, save_weights
from gpnas.timing import interleave

_TIMED, _REPEATS = 64, 20  # images per timed call; number of calls


class _Candidate(NamedTuple):
    trial: Trial
    module: nn.Module
    jobs: list[Job]


def trained(
    space: Space,
    data: Dataset,
    recipe: Recipe,
    folder: PathLike,
    metrics: Collection[str],
    seed: int = 0,
    training: Training = CLASSIFICATION,
) -> EvaluateAll:
    """Makes an evaluation that trains candidates and measures them on the validation set.

    Candidates with networks of one shape and equal numbers of steps train together under `vmap`.
    A trial with a budget trains for that many steps in total; if its parent has the same
    architecture, training is resumed. Random numbers of a candidate depend only on its
    architecture, budget and the seed, so resuming a search is deterministic.

    Args:
      space: A space with `build`, and with `inherit` if children inherit weights.
      data: Candidates train on `train`; the search uses the metric on `validation`.
      recipe: Training settings.
      folder: Folder for the weights, shared by the workers of a search.
      metrics: Metrics beside the validation metric, steps and the space's costs. The metric on
        `test` and latency_ms (batch of 64) are measured only if listed.
      seed: Seed of all random numbers.
      training: Task of the networks; the default's metric is the error in percent.

    Returns:
      `trials → metrics of each`; the weights are stored.
    """
    assert space.build is not None
    rule = SGD(recipe.learning_rate, recipe.momentum, recipe.weight_decay)
    folder, programs = pathlib.Path(folder), make_programs(data, rule, training)
    context = TrainingContext(space.build, space.inherit, data, recipe, programs)
    finish = functools.partial(_finish, context, space.cost, training.names, folder, metrics)

    def learn(together: Sequence[_Candidate]) -> dict[int, Outcome]:
        jobs = [job for candidate in together for job in candidate.jobs]
        variables = iter(programs.train(together[0].module, jobs))
        found: dict[int, Outcome] = {}
        for candidate in together:
            own = list(itertools.islice(variables, len(candidate.jobs)))
            found[candidate.trial.number] = attempt(functools.partial(finish, candidate, own))
        return found

    def evaluate(trials: Sequence[Trial]) -> list[Outcome]:
        found: dict[int, Outcome] = {}
        candidates = []
        for trial in trials:
            made = attempt(functools.partial(_prepare, context, folder, seed, trial))
            if isinstance(made, Failed):
                found[trial.number] = made
            else:
                candidates.append(made)
        for together in _alike(candidates):
            outcomes = attempt(functools.partial(learn, together))
            numbers = [candidate.trial.number for candidate in together]
            found |= dict.fromkeys(numbers, outcomes) if isinstance(outcomes, Failed) else outcomes
        return [found[trial.number] for trial in trials]

    return evaluate


def _prepare(context: TrainingContext, folder: pathlib.Path, seed: int, trial: Trial) -> _Candidate:
    """Builds the network of a trial and its jobs."""
    needed = trial.budget or (context.recipe.inherit and context.inherit is not None)
    known = load_weights(folder, trial.parent) if needed and trial.parent is not None else None
    try:
        module = context.build(trial.architecture)
    except UserError as error:  # of the architecture, not of the search's settings
        raise ValueError(str(error)) from error
    drawn = repr((tuples(trial.architecture), trial.budget))  # not the trial's number
    rng = np.random.default_rng((seed, zlib.crc32(drawn.encode())))
    return _Candidate(trial, module, jobs_of(context, trial, module, known, rng))


def _finish(
    context: TrainingContext,
    cost: Callable[[Any], Mapping[str, float]],
    names: tuple[str, str],
    folder: pathlib.Path,
    metrics: Collection[str],
    candidate: _Candidate,
    variables: Sequence[Any],
) -> dict[str, float]:
    """Stores the weights of a trained candidate and returns its metrics.

    Raises:
      FloatingPointError: If weights are not finite.
    """
    trial, module, data = candidate.trial, candidate.module, context.data
    if not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)):
        raise FloatingPointError("training diverged: weights are not finite")
    save_weights(
        folder, trial.number, StoredWeights(trial.architecture, trial.budget, variables[0])
    )
    found = dict(cost(trial.architecture))
    for name, split in zip(names, (data.validation, data.test), strict=True):
        if name == names[0] or name in metrics:
            values = [context.programs.measure(module, one, split) for one in variables]
            found[name] = statistics.fmean(values)
    found["steps"] = sum(len(job.rows) for job in candidate.jobs)
    if "latency_ms" in metrics:
        found["latency_ms"] = _latency(module, variables[0], data)
    return found


def total_steps(history: History) -> float:
    """Returns the number of training steps in a history, including distillation."""
    return sum(value(t, "steps") for t in evaluated(history) if t.repeats is None)


def _alike(candidates: Sequence[_Candidate]) -> list[list[_Candidate]]:
    """Groups candidates by module and number of steps, in order."""
    groups: dict[Any, list[_Candidate]] = {}
    for one in candidates:
        groups.setdefault((one.module, len(one.jobs[0].rows)), []).append(one)
    return list(groups.values())


def _latency(module: nn.Module, variables: Any, data: Dataset) -> float:
    """Returns the median time of a forward pass of 64 images, in milliseconds."""
    run = jax.jit(lambda variables, x: call.infer(module, variables, x))
    images = standardize(jnp.asarray(data.train.inputs[:_TIMED]), data)
    (seconds,) = interleave({"": lambda: run(variables, images)}, _REPEATS).values()
    return 1000 * statistics.median(seconds)
