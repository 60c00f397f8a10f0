"""Analyses of a trained network: entropy of neuron states, sharpness of the loss."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.data import Dataset, standardize
from gpnas.errors import check_choice
from gpnas.gates import Forward
from gpnas.masks import apply
from gpnas.sensitivity import curvature, entropy, neurons
from gpnas.train._plan import Plan
from gpnas.train._step import forward_of

_IMAGES = 5000  # number of training images, from the first


def check(names: Sequence[str]) -> None:
    """Checks the names of a config's `analysis`.

    Raises:
      UserError: For an unknown name.
    """
    for name in names:
        check_choice("analysis", name, ANALYSES)


def analyse(
    names: Sequence[str], plan: Plan, variables: Mapping[str, Any], masks: Any, data: Dataset
) -> dict[str, Any]:
    """Runs the named analyses of a network on training images; returns numbers by name."""
    images = standardize(jnp.asarray(data.train.inputs[:_IMAGES]), data)
    labels = jnp.asarray(data.train.targets[:_IMAGES])
    others = {name: value for name, value in variables.items() if name != "params"}

    forward = forward_of(plan.task, others, (images, labels))
    return {
        name: ANALYSES[name](forward, variables["params"], masks, data.num_classes)
        for name in names
    }


def _states(forward: Forward, params: Any, masks: Any, classes: int) -> dict[str, float]:
    """Returns the mean entropy in bits of the neuron states of each layer, by path."""
    del masks

    @jax.jit
    def found(params: Any) -> dict[str, jax.Array]:
        seen = neurons.pre_activations(forward, params)
        return entropy.state_entropy(seen, forward.labels, classes)

    return {path: float(jnp.mean(h)) for path, h in found(params).items()}


def _sharpness(forward: Forward, params: Any, masks: Any, classes: int) -> float:
    """Returns the top eigenvalue of the Hessian of the loss with respect to the active weights."""
    del classes

    @jax.jit
    def found(params: Any) -> jax.Array:
        return curvature.top_eigenvalue(
            lambda p: forward.loss(apply(masks, p))[0], params, jax.random.key(0)
        )

    return float(found(params))


ANALYSES: Mapping[str, Callable[..., Any]] = {"psp_entropy": _states, "top_eigenvalue": _sharpness}
