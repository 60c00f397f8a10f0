"""Candidates that are trained: afresh, or from their parents' weights."""

import functools
import itertools
import pathlib
import statistics
import time
import zlib
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gpnas.data import Dataset, standardize
from gpnas.errors import UserError
from gpnas.models import call
from gpnas.search._fit import Job, Rule, error_percent, make_programs
from gpnas.search._history import History, Trial, evaluated, value
from gpnas.search._jobs import Recipe, Workshop, jobs_of
from gpnas.search._outcome import Failed, Outcome, attempt
from gpnas.search._run import EvaluateAll
from gpnas.search._space import Space, frozen
from gpnas.search._weights import Known, load_weights, save_weights

MEASURED = ("val_error", "test_error", "steps", "latency_ms")
_TIMED, _REPEATS = 64, 20  # images a call whose latency is measured; calls


class _Candidate(NamedTuple):
    trial: Trial
    module: nn.Module
    jobs: list[Job]


def trained(
    space: Space,
    data: Dataset,
    recipe: Recipe,
    folder: pathlib.Path,
    metrics: Collection[str],
    seed: int = 0,
) -> EvaluateAll:
    """Evaluates by training; candidates of one shape and length train together under `vmap`.

    A trial with a budget trains for so many steps in all: if its parent is the same architecture,
    it goes on from there. What is drawn for a candidate follows from its architecture, its budget
    and the seed, so that a search that was stopped goes on as if it had not been.

    Args:
      space: With `build`, and `inherit` where children begin with their parents' weights.
      data: Candidates learn from `train`; `val_error` is of `validation`.
      recipe: How they are trained.
      folder: For the weights; workers of one search share it.
      metrics: What is wanted beside val_error, steps and the space's costs: test_error, in percent,
        and latency_ms, of a batch of 64, are measured only if they are among these.
      seed: Of all randomness.

    Returns:
      `trials → metrics of each`; the weights of each are kept.
    """
    assert space.build is not None
    rule = Rule(recipe.learning_rate, recipe.momentum, recipe.weight_decay)
    programs = make_programs(data, rule)
    shop = Workshop(space.build, space.inherit, data, recipe, programs)

    def prepare(trial: Trial) -> _Candidate:
        needed = trial.budget or (recipe.inherit and space.inherit is not None)
        known = load_weights(folder, trial.parent) if needed and trial.parent is not None else None
        try:
            module = shop.build(trial.architecture)
        except UserError as error:  # of the architecture, not of the search's settings
            raise ValueError(str(error)) from error
        rng = np.random.default_rng((seed, _number(trial)))
        return _Candidate(trial, module, jobs_of(shop, trial, module, known, rng))

    def finish(candidate: _Candidate, variables: Sequence[Any]) -> dict[str, float]:
        trial, module = candidate.trial, candidate.module
        if not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)):
            raise FloatingPointError("training diverged: weights are not finite")
        save_weights(folder, trial.number, Known(trial.architecture, trial.budget, variables[0]))
        found = dict(space.cost(trial.architecture))
        for name, split in (("val_error", data.validation), ("test_error", data.test)):
            if name == "val_error" or name in metrics:
                errors = [error_percent(programs, module, one, split) for one in variables]
                found[name] = statistics.fmean(errors)
        found["steps"] = sum(len(job.rows) for job in candidate.jobs)
        if "latency_ms" in metrics:
            found["latency_ms"] = _latency(module, variables[0], data)
        return found

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
            made = attempt(functools.partial(prepare, trial))
            if isinstance(made, Failed):
                found[trial.number] = made
            else:
                candidates.append(made)
        for together in _alike(candidates):
            learnt = attempt(functools.partial(learn, together))
            numbers = [candidate.trial.number for candidate in together]
            found |= dict.fromkeys(numbers, learnt) if isinstance(learnt, Failed) else learnt
        return [found[trial.number] for trial in trials]

    return evaluate


def total_steps(history: History) -> float:
    """Training steps that a history took, those of distillation included."""
    return sum(value(t, "steps") for t in evaluated(history) if t.repeats is None)


def _alike(candidates: Sequence[_Candidate]) -> list[list[_Candidate]]:
    """Candidates in groups of one module and one number of steps, in the order they came."""
    groups: dict[Any, list[_Candidate]] = {}
    for one in candidates:
        groups.setdefault((one.module, len(one.jobs[0].rows)), []).append(one)
    return list(groups.values())


def _number(trial: Trial) -> int:
    """What stands for an architecture and a budget wherever a search is resumed."""
    return zlib.crc32(repr((frozen(trial.architecture), trial.budget)).encode())


def _latency(module: nn.Module, variables: Any, data: Dataset) -> float:
    """Median time of a forward pass of 64 images, in milliseconds."""
    run = jax.jit(lambda variables, x: call.infer(module, variables, x))
    images = standardize(jnp.asarray(data.train.inputs[:_TIMED]), data)
    jax.block_until_ready(run(variables, images))
    times = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        jax.block_until_ready(run(variables, images))
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times)
