"""Training jobs of candidates: from scratch, resumed, or from inherited weights."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gpnas._settings import Count, Decay, NonNegative, Positive, Steps
from gpnas.data import Dataset, standardize
from gpnas.search._fit import CandidatePrograms, Job
from gpnas.search._history import Trial
from gpnas.search._weights import StoredWeights

_COMPARED = 256  # images on which the outputs of child and parent are compared
_SAME = 1e-3  # largest difference of equal outputs, relative to their standard deviation


class Recipe(NamedTuple):
    """Training settings of candidates.

    Attributes:
      steps: Training steps of a network with newly initialized weights.
      child_steps: Training steps of a network with inherited weights.
      distil_steps: Distillation steps before them, for a child whose outputs differ from its
        parent's; only new or changed parameters are trained in them.
      inherit: Whether children inherit their parents' weights.
      replicas: Number of networks per candidate with different seeds, trained together; its error
        is their mean. Inherited and promoted weights are those of the first one, for all replicas.
      batch_size: Images per step.
      learning_rate: Initial learning rate of SGD; cosine decay to zero.
      momentum: Momentum of SGD, in [0, 1).
      weight_decay: Weight decay of weights, not of biases or scales; 0 or more.
    """

    steps: Count = 200
    child_steps: Steps = 60
    distil_steps: Steps = 20
    inherit: bool = True
    replicas: Count = 1
    batch_size: Count = 64
    learning_rate: Positive = 0.05
    momentum: Decay = 0.9
    weight_decay: NonNegative = 5e-4


class TrainingContext(NamedTuple):
    """What all candidates of a search share in training.

    Attributes:
      build: `architecture → module`.
      inherit: `Space.inherit`, or None.
      data: The data set.
      recipe: Training settings.
      programs: Compiled programs that train and evaluate candidates.
    """

    build: Callable[[Any], nn.Module]
    inherit: Callable[..., tuple[Any, Any]] | None
    data: Dataset
    recipe: Recipe
    programs: CandidatePrograms


def jobs_of(
    context: TrainingContext,
    trial: Trial,
    module: nn.Module,
    known: StoredWeights | None,
    rng: np.random.Generator,
) -> list[Job]:
    """Returns the jobs of a candidate, one per replica.

    Args:
      context: What all candidates share.
      trial: The candidate.
      module: Its network.
      known: Trained network of the trial's parent; None without a parent.
      rng: Source of all randomness.

    Returns:
      Jobs with the same number of steps.
    """
    recipe = context.recipe
    if known is not None and trial.budget and known.architecture == trial.architecture:
        left = max(trial.budget - known.steps, 1)
        return [_free(context, known.variables, left, rng) for _ in range(recipe.replicas)]
    keys = [jax.random.key(int(n)) for n in rng.integers(2**31, size=recipe.replicas)]
    fresh = [context.programs.begin(module, key) for key in keys]
    if known is None or not recipe.inherit or context.inherit is None:
        return [_free(context, one, trial.budget or recipe.steps, rng) for one in fresh]
    return _inheriting(context, context.inherit, trial, module, known, fresh, rng)


def _free(context: TrainingContext, variables: Any, steps: int, rng: np.random.Generator) -> Job:
    """Returns a job without distillation: all parameters are trained from the first step on."""
    free = jax.tree.map(lambda _: jnp.asarray(True), variables["params"])
    none = np.zeros((0, context.recipe.batch_size, context.data.num_classes))
    return Job(variables, free, _rows(context, steps, rng), none, _seed(rng))


def _inheriting(
    context: TrainingContext,
    inherit: Callable[..., tuple[Any, Any]],
    trial: Trial,
    module: nn.Module,
    known: StoredWeights,
    fresh: Sequence[Any],
    rng: np.random.Generator,
) -> list[Job]:
    """Returns jobs that start from inherited weights.

    If the outputs of child and parent differ, the targets of the first steps are the parent's
    outputs (distillation).
    """
    data, recipe, predict = context.data, context.recipe, context.programs.predict
    images = data.train.inputs[rng.choice(len(data.train), min(_COMPARED, len(data.train)), False)]
    seen = standardize(jnp.asarray(images), data)
    begun = [
        inherit(known.architecture, trial.architecture, known.variables, one, seen) for one in fresh
    ]
    old = context.build(known.architecture)
    before = predict(old, known.variables, images)
    gap = max(np.abs(predict(module, one, images) - before).max() for one, _ in begun)
    distilled = 0 if gap <= _SAME * before.std() else recipe.distil_steps
    steps = max(trial.budget or recipe.child_steps + distilled, distilled)
    shape = (distilled, recipe.batch_size, data.num_classes)
    jobs = []
    for variables, free in begun:
        rows = _rows(context, steps, rng)
        logits = predict(old, known.variables, data.train.inputs[rows[:distilled].reshape(-1)])
        targets = np.asarray(jax.nn.softmax(logits)).reshape(shape)
        jobs.append(Job(variables, free, rows, targets, _seed(rng)))
    return jobs


def _seed(rng: np.random.Generator) -> int:
    """Draws a seed without advancing the generator's own stream."""
    return int(rng.spawn(1)[0].integers(2**32))


def _rows(context: TrainingContext, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Returns (steps, batch) int32 indices; every image is used once before any repeats."""
    batch, images = context.recipe.batch_size, len(context.data.train)
    order = [rng.permutation(images) for _ in range(1 + steps * batch // images)]
    return np.concatenate(order)[: steps * batch].reshape(steps, batch).astype(np.int32)
