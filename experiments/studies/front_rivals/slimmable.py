"""A slimmable network: one set of weights for many widths.

References:
  Yu & Huang 2019, US-Nets (arXiv:1903.05134): the sandwich rule, distillation from the largest
  width, and batch statistics that are computed for each width after training.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from experiments.studies.front_rivals.networks import (
    Context,
    described,
    epoch_steps,
    folder,
    run_config,
    train_flops,
)
from experiments.studies.front_rivals.space import Widths, discover, scaled, uniform_fraction
from gpnas import units
from gpnas.data import standardize
from gpnas.models import Model
from gpnas.train import (
    Aux,
    Task,
    build_model,
    classification,
    load_run,
    make_plan,
    make_program,
    train,
)

_RANDOM = 2  # widths per step, besides the largest and the smallest
_CALIBRATION = 100  # batches for the statistics of one width
_TASK = f"{__name__}:sandwich"


def sandwich(model: Model, smallest: float = 0.25) -> Task:
    """Classification by the largest, the smallest, and two random fractions of a network's widths.

    The largest is trained on labels, the others on its probabilities.

    Args:
      model: A network in which each layer with units is followed by batch normalization.
      smallest: Fraction of the widths, rounded to 1 or more.
    """
    plain = classification(model)

    def loss(variables: Any, batch: Any, key: jax.Array | None) -> tuple[jax.Array, Aux]:
        if key is None:
            return plain.loss(variables, batch, key)
        inputs, labels = batch
        drawn = jax.random.uniform(key, (_RANDOM,), minval=smallest, maxval=1.0)
        logits, state = model.apply(variables, inputs, key)
        targets = jax.lax.stop_gradient(jax.nn.softmax(logits))
        total = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        for fraction in (jnp.float32(smallest), *drawn):
            with nn.intercept_methods(narrow(fraction_of_units(fraction))):
                found = model.apply(variables, inputs, key)[0]
            total += optax.softmax_cross_entropy(found, targets).mean()
        return total, Aux(state, {"error": jnp.mean(jnp.argmax(logits, -1) != labels)})

    return plain._replace(loss=loss)


def narrow(kept: Callable[[str, int], jax.Array]) -> Callable[..., Any]:
    """Makes an interceptor that zeroes the outputs of batch norms beyond their first units.

    Args:
      kept: `(name of the batch norm, its width) → number of units that are kept`.
    """

    def intercept(
        call: Any, arguments: Any, keywords: Any, context: nn.module.InterceptorContext
    ) -> Any:
        found = call(*arguments, **keywords)
        if context.method_name != "__call__" or not isinstance(context.module, nn.BatchNorm):
            return found
        width, axis = found.shape[context.module.axis], context.module.axis
        active = jnp.arange(width) < kept(str(context.module.name), width)
        others = [at for at in range(found.ndim) if at != axis % found.ndim]
        return jnp.where(jnp.expand_dims(active, others), found, 0)

    return intercept


def fraction_of_units(fraction: jax.Array) -> Callable[[str, int], jax.Array]:
    """Keeps a fraction of all widths, at least one unit each (see `narrow`)."""
    return lambda name, width: jnp.maximum(jnp.round(fraction * width), 1)


def train_slimmable(context: Context, seed: int, rate: float, largest: float) -> dict[str, Any]:
    """Trains a slimmable network with the training FLOPs of one front, evaluated at each level.

    Args:
      context: Context of the study.
      seed, rate: Seed and learning rate of the run.
      largest: Cost of the largest width, as a fraction of the whole network's.
    """
    costs, levels = context.costs, context.config.front.front
    widths = scaled(costs.whole, uniform_fraction(costs, largest))
    fractions = {level: uniform_fraction(costs, level, widths) for level in levels}
    smallest = fractions[min(levels)]
    mean = np.mean([costs.macs(scaled(widths, f)) for f in np.linspace(smallest, 1, 1000)])
    step = costs.macs(widths) + costs.macs(scaled(widths, smallest)) + _RANDOM * float(mean)
    flops = train_flops(context, step, epoch_steps(context))
    epochs = max(round(context.fronts[seed]["train_flops"] / flops), 1)
    one = run_config(context.config, seed, rate, epochs)
    one.method, one.elastic = ConfigDict({"name": "dense"}), False
    one.model.widths = widths
    one.task = ConfigDict({"name": _TASK, "smallest": smallest})
    place = folder(context, f"slimmable-{largest:g}-{rate:g}-{seed}")
    train(one, place, context.data)
    finished = load_run(place, "last", context.data)
    networks = [
        {"level": level} | _evaluated(context, one, finished.variables, scaled(widths, fraction))
        for level, fraction in fractions.items()
    ]
    return {"epochs": epochs, "networks": networks, "train_flops": flops * epochs}


def _evaluated(context: Context, config: ConfigDict, variables: Any, widths: Widths) -> dict:
    """Returns errors of the first units of each layer, with their own batch statistics."""
    data = context.data
    whole = build_model(config.model, data.num_classes)
    groups = discover(whole, variables, data.input_shape)
    masks = {g.name: np.arange(g.size) < w for g, w in zip(groups.groups, widths, strict=True)}
    own = config.copy_and_resolve_references()
    own.model.widths, own.task = widths, ConfigDict({"name": "classification"})
    plan = make_plan(own, data)
    found = units.resize(variables, variables, groups, masks)
    found = _calibrated(context, plan.task.model, found)
    evaluate = make_program(plan, data).evaluate
    errors = {
        f"{name}_error": plan.task.metric.reported(evaluate(found, split)["error"])
        for name, split in (("test", data.test), ("val", data.validation))
    }
    return described(context, widths) | errors


def _calibrated(context: Context, model: Model, variables: Any) -> Any:
    """Returns the variables with batch statistics averaged over the last training batches."""
    data, batch = context.data, int(context.config.front.train.batch_size)

    @jax.jit
    def after(variables: Any, inputs: jax.Array) -> Any:
        state = model.apply(variables, standardize(inputs, data), jax.random.key(0))[1]
        return {"params": variables["params"], **state}

    for i in range(min(_CALIBRATION, len(data.train) // batch)):
        variables = after(variables, jnp.asarray(data.train.inputs[i * batch : (i + 1) * batch]))
    return variables
