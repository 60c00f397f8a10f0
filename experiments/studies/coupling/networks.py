"""Arms of equal training FLOPs on networks whose layers differ in MACs per weight."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.studies.coupling.arms import ARMS, OURS, RUN, config_of, solve
from gpnas.masks import init_masks, masked_leaves
from gpnas.methods import relative_flops
from gpnas.models import call, network_macs

#: One value for all arms, not chosen on validation: the one of most arms of `coupling`.
WEIGHT_DECAY = 0.0005


class Setup(NamedTuple):
    """A network and its training.

    Attributes:
      module: The network.
      image_shape: (height, width, channels).
      epochs: Length of a run.
      steps: Training steps per epoch.
      configure: Sets the network, its data and its optimizer in the config of an arm.
    """

    module: nn.Module
    image_shape: tuple[int, int, int]
    epochs: int
    steps: int
    configure: Callable[[ConfigDict], None]


def arms_on(setup: Setup, names: Sequence[str], density: float) -> dict[str, ConfigDict]:
    """Returns arms; those of equal cost in `coupling` have the training FLOPs of development.

    The density follows the @. All arms allocate their density to layers by ERK: their training
    FLOPs are then known before the run.

    Args:
      setup: The network.
      names: Arms of `coupling`, or "dense".
      density: Final density.
    """
    run = run_of(setup)
    goal = relative_flops(_config(setup, OURS, density).method.to_dict(), **run)
    arms = {}
    for name in names:
        config = _config(setup, name, density)
        field = ARMS[name].solved if name in ARMS else ""
        if field and name != OURS:
            solve(config, field, goal, run)
        arms[f"{name}@{density:g}" if name in ARMS else name] = config
    return arms


def _config(setup: Setup, name: str, density: float) -> ConfigDict:
    """Returns an arm with the training FLOPs that it has on LeNet-300-100."""
    config = config_of(name, density, WEIGHT_DECAY, epochs=setup.epochs)
    config.train.batch_size = RUN["batch_size"]
    config.train.log_every = setup.steps
    setup.configure(config)
    if name in ARMS:
        config.method.allocation = "erk"
    return config


@functools.cache
def run_of(setup: Setup) -> dict[str, Any]:
    """Returns the arguments of `build` that depend on the network and the length of its run."""
    blank = jax.ShapeDtypeStruct((1, *setup.image_shape), jnp.float32)
    init = functools.partial(call.init, setup.module)
    variables = jax.eval_shape(init, jax.random.key(0), blank)
    params = variables["params"]
    weights = masked_leaves(jax.eval_shape(init_masks, params), params)
    per_weight = network_macs(setup.module, variables, setup.image_shape).per_weight
    return {
        "total_steps": setup.steps * setup.epochs,
        "batch_size": RUN["batch_size"],
        "shapes": {path: leaf.shape for path, leaf in weights.items()},
        "macs": {path: per_weight[path] for path in weights},
    }
