"""The task of the networks that a search trains: loss and reported metric."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gpnas import plugins
from gpnas.data import Dataset, require_kind, standardize
from gpnas.errors import UserError
from gpnas.models import call, linen
from gpnas.train import build_task, check_task
from gpnas.train.task import TARGET_KINDS, Metric, Task, classification, output_shape

DEFAULT = {"name": "classification"}


class Training(NamedTuple):
    """The task that networks are trained and evaluated on.

    Attributes:
      make: `module → task`.
      metric: Metric of the task.
      soft: Whether targets may be class probabilities, as in distillation.
    """

    make: Callable[[nn.Module], Task]
    metric: Metric
    soft: bool

    @property
    def names(self) -> tuple[str, str]:
        """Names of the metric on the validation and test splits."""
        return f"val_{self.metric.name}", f"test_{self.metric.name}"


# Records of searches have the error unrounded; records of training round it.
ERROR = Metric("error", "%", value=lambda mean: 100 * mean)
CLASSIFICATION = Training(lambda module: classification(linen(module)), ERROR, True)


def check_data(name: str, data: Dataset) -> None:
    """Checks that a data set has images and the targets that a task requires.

    Raises:
      UserError: If it does not.
    """
    kind = TARGET_KINDS.get(name)
    require_kind(data, inputs=("image",), targets=() if kind is None else (kind,))


def build_training(
    settings: Mapping[str, Any], data: Dataset, build: Callable[[], nn.Module]
) -> Training:
    """Builds the task of a search from the `task` section of its config.

    Args:
      settings: The search's config.
      data: The data set.
      build: Builds a network of the space.

    Raises:
      UserError: If the task does not exist, its targets are not those of the data set, or the
        networks of the space cannot be trained on it.
    """
    own = dict(settings.get("task", DEFAULT))
    config = ConfigDict(own)
    check_data(own["name"], data)

    def make(module: nn.Module) -> Task:
        return build_task(config, linen(module))

    space = settings["space"]
    module = plugins.call_user("space", space, "a space that builds networks", build)
    if not _hashable(module):  # compiled programs are kept by module
        allowed = f"hashable networks: tuples, not lists, as fields of {type(module).__name__}"
        raise UserError("space", space, allowed)
    task = make(module)
    _check(space, own["name"], task, data, module)
    if own["name"] == "classification":
        return Training(make, ERROR, True)
    return Training(make, task.metric, False)


def _hashable(module: nn.Module) -> bool:
    try:
        hash(module)
    except TypeError:
        return False
    return True


def _check(space: str, name: str, task: Task, data: Dataset, module: nn.Module) -> None:
    """Traces the task on a network of the space."""
    inputs = jax.eval_shape(lambda x: standardize(x, data), jnp.asarray(data.train.inputs[:2]))
    targets = jax.eval_shape(jnp.asarray, data.train.targets[:2])
    init = functools.partial(jax.eval_shape, functools.partial(call.init, module))
    allowed = "a space that builds networks"
    variables = plugins.call_user("space", space, allowed, init, jax.random.key(0), inputs)
    wanted = output_shape(name, task, data)
    outputs = jax.eval_shape(task.model.infer, variables, inputs).shape[1:]
    if wanted is not None and outputs != wanted:
        raise UserError("space", space, f"networks with outputs {wanted}, not {outputs}")
    check_task(name, task, variables, (inputs, targets), (inputs, targets), None)
