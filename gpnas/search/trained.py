"""Candidates that are trained: afresh, or from their parents' weights."""

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

from gpnas.data import Dataset
from gpnas.search.fit import Job, Rule, error_percent, make_programs
from gpnas.search.history import History, Trial, evaluated, value
from gpnas.search.run import EvaluateAll, Metrics
from gpnas.search.space import Space, frozen
from gpnas.search.weights import Known, load_weights, save_weights
from gpnas.train.program import standardize

MEASURED = ("val_error", "test_error", "steps", "latency_ms")
_LOOKS = 256  # images by which it is seen whether a child computes what its parent does
_SAME = 1e-3  # the largest difference of logits, relative to their spread, that is none
_TIMED, _REPEATS = 64, 20  # images a call whose latency is measured; calls


class Recipe(NamedTuple):
    """How a candidate is trained.

    Attributes:
      steps: Of a network that begins afresh.
      child_steps: Of one that begins with its parent's weights.
      distil_steps: Before them, if it does not compute what its parent does: it learns its parent's
        outputs, and only what is new or changed may move.
      inherit: Whether children begin with their parents' weights.
      replicas: Networks of each candidate, other draws of the same, trained together; its error is
        their mean.
      batch_size: Images a step.
      learning_rate, momentum, weight_decay: As for `Rule`.
    """

    steps: int = 200
    child_steps: int = 60
    distil_steps: int = 20
    inherit: bool = True
    replicas: int = 1
    batch_size: int = 64
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4


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
    programs = make_programs(data, Rule(recipe.learning_rate, recipe.momentum, recipe.weight_decay))
    build = space.build

    def prepare(trial: Trial) -> _Candidate:
        rng = np.random.default_rng((seed, _number(trial)))
        known = None if trial.parent is None else load_weights(folder, trial.parent)
        module = build(trial.architecture)
        again = known is not None and known.architecture == trial.architecture
        if known is not None and trial.budget and again:
            left = max(trial.budget - known.steps, 1)
            jobs = [_afresh(known.variables, left, rng) for _ in range(recipe.replicas)]
            return _Candidate(trial, module, jobs)
        keys = [jax.random.key(int(n)) for n in rng.integers(2**31, size=recipe.replicas)]
        fresh = [programs.begin(module, key) for key in keys]
        if known is None or not recipe.inherit or space.inherit is None:
            jobs = [_afresh(one, trial.budget or recipe.steps, rng) for one in fresh]
        else:
            jobs = _heirs(trial, module, known, fresh, rng)
        return _Candidate(trial, module, jobs)

    def _afresh(variables: Any, steps: int, rng: np.random.Generator) -> Job:
        free = jax.tree.map(lambda _: jnp.asarray(True), variables["params"])
        rows = _rows(steps, recipe, data, rng)
        return Job(variables, free, rows, np.zeros((0, recipe.batch_size, data.num_classes)))

    def _heirs(
        trial: Trial, module: nn.Module, known: Known, fresh: Sequence[Any],
        rng: np.random.Generator,
    ) -> list[Job]:  # fmt: skip
        assert space.inherit is not None
        chosen = rng.choice(len(data.train), min(_LOOKS, len(data.train)), replace=False)
        looks = data.train.images[chosen]
        seen = standardize(jnp.asarray(looks), data)
        begun = [
            space.inherit(known.architecture, trial.architecture, known.variables, one, seen)
            for one in fresh
        ]
        old = build(known.architecture)
        before = programs.predict(old, known.variables, looks)
        gaps = [np.abs(programs.predict(module, one, looks) - before).max() for one, _ in begun]
        same = max(gaps) <= _SAME * before.std()
        distilled = 0 if same else recipe.distil_steps
        steps = max(trial.budget or recipe.child_steps + distilled, distilled)
        shape = (distilled, recipe.batch_size, data.num_classes)
        jobs = []
        for variables, free in begun:
            rows = _rows(steps, recipe, data, rng)
            images = data.train.images[rows[:distilled].reshape(-1)]
            logits = programs.predict(old, known.variables, images)
            targets = np.asarray(jax.nn.softmax(logits)).reshape(shape)
            jobs.append(Job(variables, free, rows, targets))
        return jobs

    def finish(candidate: _Candidate, variables: Sequence[Any]) -> dict[str, float]:
        trial, module = candidate.trial, candidate.module
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

    def evaluate(trials: Sequence[Trial]) -> list[Metrics]:
        candidates = [prepare(trial) for trial in trials]
        found: dict[int, dict[str, float]] = {}
        for together in _alike(candidates):
            jobs = [job for candidate in together for job in candidate.jobs]
            variables = iter(programs.train(together[0].module, jobs))
            for candidate in together:
                own = list(itertools.islice(variables, len(candidate.jobs)))
                found[candidate.trial.number] = finish(candidate, own)
        return [found[trial.number] for trial in trials]

    return evaluate


def spent(history: History) -> float:
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


def _rows(steps: int, recipe: Recipe, data: Dataset, rng: np.random.Generator) -> np.ndarray:
    """(steps, batch) int32: every image once before any comes again."""
    wanted, images = steps * recipe.batch_size, len(data.train)
    order = [rng.permutation(images) for _ in range(1 + wanted // images)]
    return np.concatenate(order)[:wanted].reshape(steps, recipe.batch_size).astype(np.int32)


def _latency(module: nn.Module, variables: Any, data: Dataset) -> float:
    """Median time of a forward pass of 64 images, in milliseconds."""
    run = jax.jit(lambda variables, x: module.apply(variables, x, train=False))
    images = standardize(jnp.asarray(data.train.images[:_TIMED]), data)
    jax.block_until_ready(run(variables, images))
    times = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        jax.block_until_ready(run(variables, images))
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times)
