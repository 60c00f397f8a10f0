"""Random search with weight sharing over the network's widths.

Random networks of each level are drawn once; each training step trains one of them, and all are
ranked. In the paper, each step draws a network of the whole space.

References:
  Li & Talwalkar 2020 (arXiv:1902.07638).
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.studies.front_rivals.networks import (
    Context,
    epoch_steps,
    folder,
    run_config,
    train_flops,
)
from experiments.studies.front_rivals.searches import best_from_scratch
from experiments.studies.front_rivals.slimmable import narrow
from experiments.studies.front_rivals.space import random_widths
from gpnas.data import standardize
from gpnas.models import Model
from gpnas.train import Aux, Task, build_model, classification, load_run, train

SHARING = "weight sharing"  # the arm
_NORMS = ("norm1", "norm2", "norm3", "norm4")  # of `gpnas.models.ConvNet`, in the order of widths
_BATCH = 1000  # images whose statistics are used for validation
_TASK = f"{__name__}:one_of"


def one_of(model: Model, networks: tuple[tuple[int, ...], ...] = ()) -> Task:
    """Classification by one of several networks, drawn in each step; all share their weights.

    Args:
      model: The widest network, `gpnas.models.ConvNet`.
      networks: Widths of each network; it uses the first units of each layer.
    """
    plain, table = classification(model), jnp.asarray(networks, jnp.int32)

    def loss(variables: Any, batch: Any, key: jax.Array | None) -> tuple[jax.Array, Aux]:
        if key is None:
            return plain.loss(variables, batch, key)
        with nn.intercept_methods(narrow(_first_units(jax.random.choice(key, table)))):
            return plain.loss(variables, batch, key)

    return plain._replace(loss=loss)


def _first_units(widths: jax.Array) -> Callable[[str, int], jax.Array]:
    return lambda name, _: widths[_NORMS.index(name)]


def train_shared(context: Context, seed: int, budget: float) -> dict[str, Any]:
    """Trains shared weights, then the best networks of each level from scratch.

    Args:
      context: Context of the study.
      seed: Seed of the networks and of the runs.
      budget: Budget in training FLOPs of one front.

    Returns:
      The record.
    """
    costs, levels = context.costs, tuple(context.config.front.front)
    rng, whole = np.random.default_rng(seed), costs.macs(costs.whole)
    networks = [
        random_widths(costs, level * whole, rng)
        for level in levels
        for _ in range(context.config.shared)
    ]
    mean = float(np.mean([costs.macs(one) for one in networks]))
    epoch = train_flops(context, mean, epoch_steps(context))
    epochs = max(int(budget * context.fronts[seed]["train_flops"] / epoch), 1)
    one = run_config(context.config, seed, context.scratch_rate, epochs)
    one.method, one.elastic = ConfigDict({"name": "dense"}), False
    one.task = ConfigDict({"name": _TASK, "networks": tuple(networks)})
    place = folder(context, f"weight-sharing-{budget:g}-{seed}")
    train(one, place, context.data)
    variables = load_run(place, "last", context.data).variables
    found = best_from_scratch(context, [*_validated(context, variables, networks)], levels, seed)
    return {
        "evaluations": len(networks),
        "networks": found,
        "epochs": epochs,
        "train_flops": epochs * epoch,
        "retrain_flops": sum(one["train_flops"] for one in found),
    }


def _validated(
    context: Context, variables: Any, networks: Sequence[tuple[int, ...]]
) -> list[tuple[tuple[int, ...], float]]:
    """Returns the networks with their validation errors in %, by the statistics of each batch."""
    data = context.data
    model = build_model(context.config.front.model, data.num_classes)

    @jax.jit
    def wrong(widths: jax.Array, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        with nn.intercept_methods(narrow(_first_units(widths))):
            logits = model.apply(variables, standardize(inputs, data), jax.random.key(0))[0]
        return jnp.sum(jnp.argmax(logits, -1) != labels)

    count = len(data.validation)
    batches = [slice(start, start + _BATCH) for start in range(0, count, _BATCH)]
    images, labels = map(jnp.asarray, (data.validation.inputs, data.validation.targets))
    return [
        (
            one,
            100 * sum(int(wrong(jnp.asarray(one), images[b], labels[b])) for b in batches) / count,
        )
        for one in networks
    ]
