"""What a candidate begins with and is to learn: afresh, where it stopped, as its parent's heir."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gpnas.data import Dataset, standardize
from gpnas.search._fit import Job, Programs
from gpnas.search._history import Trial
from gpnas.search._settings import Count, Decay, NonNegative, Positive, Steps
from gpnas.search._weights import Known

_LOOKS = 256  # images by which it is seen whether a child computes what its parent does
_SAME = 1e-3  # the largest difference of logits, relative to their spread, that is none


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
      batch_size: Images per step.
      learning_rate, momentum, weight_decay: As for `Rule`.
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


class Workshop(NamedTuple):
    """What all candidates of a search share.

    Attributes:
      build: `architecture → module`.
      inherit: As a space has it, or None.
      data: The images.
      recipe: How candidates are trained.
      programs: What trains them.
    """

    build: Callable[[Any], nn.Module]
    inherit: Callable[..., tuple[Any, Any]] | None
    data: Dataset
    recipe: Recipe
    programs: Programs


def jobs_of(
    shop: Workshop, trial: Trial, module: nn.Module, known: Known | None, rng: np.random.Generator
) -> list[Job]:
    """What each replica of a candidate has to learn.

    Args:
      shop: What all candidates share.
      trial: The candidate.
      module: Its network.
      known: What was trained for the trial's parent; None where it has none.
      rng: Of all that is drawn.

    Returns:
      A job for each replica, all with equally many steps.
    """
    recipe = shop.recipe
    if known is not None and trial.budget and known.architecture == trial.architecture:
        left = max(trial.budget - known.steps, 1)
        return [_whole(shop, known.variables, left, rng) for _ in range(recipe.replicas)]
    keys = [jax.random.key(int(n)) for n in rng.integers(2**31, size=recipe.replicas)]
    fresh = [shop.programs.begin(module, key) for key in keys]
    if known is None or not recipe.inherit or shop.inherit is None:
        return [_whole(shop, one, trial.budget or recipe.steps, rng) for one in fresh]
    return _heirs(shop, shop.inherit, trial, module, known, fresh, rng)


def _whole(shop: Workshop, variables: Any, steps: int, rng: np.random.Generator) -> Job:
    """Everything may move from the first step on."""
    free = jax.tree.map(lambda _: jnp.asarray(True), variables["params"])
    none = np.zeros((0, shop.recipe.batch_size, shop.data.num_classes))
    return Job(variables, free, _rows(shop, steps, rng), none, _seed(rng))


def _heirs(
    shop: Workshop,
    inherit: Callable[..., tuple[Any, Any]],
    trial: Trial,
    module: nn.Module,
    known: Known,
    fresh: Sequence[Any],
    rng: np.random.Generator,
) -> list[Job]:
    """From the parent's weights; what computes something else learns the parent's outputs first."""
    data, recipe, predict = shop.data, shop.recipe, shop.programs.predict
    looks = data.train.inputs[rng.choice(len(data.train), min(_LOOKS, len(data.train)), False)]
    seen = standardize(jnp.asarray(looks), data)
    begun = [
        inherit(known.architecture, trial.architecture, known.variables, one, seen) for one in fresh
    ]
    old = shop.build(known.architecture)
    before = predict(old, known.variables, looks)
    gap = max(np.abs(predict(module, one, looks) - before).max() for one, _ in begun)
    distilled = 0 if gap <= _SAME * before.std() else recipe.distil_steps
    steps = max(trial.budget or recipe.child_steps + distilled, distilled)
    shape = (distilled, recipe.batch_size, data.num_classes)
    jobs = []
    for variables, free in begun:
        rows = _rows(shop, steps, rng)
        logits = predict(old, known.variables, data.train.inputs[rows[:distilled].reshape(-1)])
        targets = np.asarray(jax.nn.softmax(logits)).reshape(shape)
        jobs.append(Job(variables, free, rows, targets, _seed(rng)))
    return jobs


def _seed(rng: np.random.Generator) -> int:
    """Drawn beside the generator's own stream, which goes on as if it had not been."""
    return int(rng.spawn(1)[0].integers(2**32))


def _rows(shop: Workshop, steps: int, rng: np.random.Generator) -> np.ndarray:
    """(steps, batch) int32: every image once before any comes again."""
    batch, images = shop.recipe.batch_size, len(shop.data.train)
    order = [rng.permutation(images) for _ in range(1 + steps * batch // images)]
    return np.concatenate(order)[: steps * batch].reshape(steps, batch).astype(np.int32)
