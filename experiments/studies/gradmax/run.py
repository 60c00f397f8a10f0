"""GradMax's experiment: a student that gains neurons one by one learns from a teacher."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from experiments.studies import study
from gpnas import masks as gm
from gpnas import units
from gpnas.errors import UserError, check_choice
from gpnas.methods import dense
from gpnas.models import Model
from gpnas.provenance import provenance
from gpnas.records import append_line, read_lines, records_path
from gpnas.sections import check_integers
from gpnas.train import TrainState, make_step, state_of, task
from gpnas.units import grow

_HIDDEN = "hidden:1"
_LIMITS = {"inputs": 1, "width": 2, "outputs": 1, "start": 1, "samples": 1, "seeds": 1,
           "interval": 1, "last": 1, "every": 1}  # fmt: skip
# Settings that comparable records share: all but the number of seeds and the arms.
_SAME = (*(field for field in _LIMITS if field != "seeds"), "learning_rate")


class Arm(NamedTuple):
    """How a student gets its neurons.

    Attributes:
      init: Initializer of added neurons, from the gradients of skip connections; None: no neurons
        are added.
      whole: Whether all neurons exist from the start.
    """

    init: Callable[[Mapping[str, jax.Array]], grow.Init] | None
    whole: bool = False


ARMS: Mapping[str, Arm] = {
    "GradMax": Arm(lambda gradients: grow.gradmax(gradients, zero="incoming")),
    "random": Arm(lambda gradients: grow.random(zero="incoming")),
    "GradMax, outgoing zero": Arm(grow.gradmax),
    "random, outgoing zero": Arm(lambda gradients: grow.random()),
    "small": Arm(None),
    "whole": Arm(None, whole=True),
}

# The control of each GradMax arm: the same side is initialized at random, with the same norm.
CONTROLS: Mapping[str, str] = {
    "GradMax": "random",
    "GradMax, outgoing zero": "random, outgoing zero",
}


def teach(config: ConfigDict, results: str | pathlib.Path) -> pathlib.Path:
    """Trains the missing students; returns the path of their records.

    All arms of a seed share teacher, samples and initial weights. All seeds of an arm run as one
    program.

    Args:
      config: Config from config.py of the study.
      results: One record per arm and seed is appended to results/STUDY/records.jsonl.

    Raises:
      UserError: If any setting is invalid; nothing has been run then.
    """
    _check(config)
    path = records_path(results, config.study)
    done = {(record["arm"], record["seed"]) for record in matching(read_lines(path), config)}
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in config.arms:
        missing = [seed for seed in range(config.seeds) if (name, seed) not in done]
        if not missing:
            continue
        begun = time.perf_counter()
        keys = jax.vmap(jax.random.key)(jnp.asarray(missing))
        found = jax.device_get(jax.jit(jax.vmap(_course(config, ARMS[name])))(keys))
        wall = (time.perf_counter() - begun) / len(missing)
        for seed, losses, norms in zip(missing, *found, strict=True):
            record = _describe(config, name, seed) | _came(config, losses, norms)
            append_line(path, record | {"wall_s": round(wall, 3)})
    return path


matching = functools.partial(study.matching, same=_SAME)


def _check(config: ConfigDict) -> None:
    check_integers(config, _LIMITS)
    if config.start >= config.width:
        raise UserError("start", config.start, f"less than the width, {config.width}")
    if not config.learning_rate > 0:
        raise UserError("learning_rate", config.learning_rate, "a number above 0")
    for name in config.arms:
        check_choice("arms", name, ARMS)


def relu1(x: jax.Array) -> jax.Array:
    """ReLU with derivative 1 at 0, so that a unit with zero incoming weights can learn."""
    return jnp.where(x >= 0, x, 0)


def network(params: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
    """Applies two layers without biases; (samples, outputs)."""
    return relu1(x @ params["hidden"]) @ params["out"]


def _course(config: ConfigDict, arm: Arm) -> Callable[[jax.Array], Any]:
    """Makes `key → (losses (steps,), gradient norms before and after each growth (growths, 2))`."""
    c = config
    shapes = {"hidden": (c.inputs, c.width), "out": (c.width, c.outputs)}
    groups = units.discover(
        network, {k: jnp.zeros(s) for k, s in shapes.items()}, jnp.zeros((2, c.inputs))
    )
    first = c.width if arm.whole else c.start

    def active(width: int) -> dict[str, np.ndarray]:
        return {_HIDDEN: np.arange(c.width) < width}

    train = _make_training(c.learning_rate)

    def run(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        teacher_key, data_key, student_key, growth_key = jax.random.split(key, 4)
        teacher = _uniform(teacher_key, shapes, dict.fromkeys(shapes, 1.0))
        x = jax.random.normal(data_key, (c.samples, c.inputs))
        y = network(teacher, x)

        def loss_of(outputs: jax.Array) -> jax.Array:
            return jnp.mean((outputs - y) ** 2)

        def loss(params: Any) -> jax.Array:
            return loss_of(network(params, x))

        params = _uniform(student_key, shapes, _glorot(c, first))
        params = gm.apply(units.weight_masks(groups, active(first), params), params)
        losses, norms = [], []
        for width in range(c.start, c.width + 1):
            last = width == c.width
            size = width if arm.init else first
            masks = units.weight_masks(groups, active(size), params)
            params, course = train(params, masks, (x, y), c.last if last else c.interval)
            losses.append(course)
            if arm.init and not last:
                before = optax.tree.norm(jax.grad(loss)(params))
                gradients = units.skip_gradients(network, loss_of, params, groups, [_HIDDEN], x)
                init = arm.init(gradients)
                own = jax.random.fold_in(growth_key, width)
                params = init(params, groups, active(width), active(width + 1), own)
                norms.append([before, optax.tree.norm(jax.grad(loss)(params))])
        return jnp.concatenate(losses), jnp.asarray(norms)

    return run


def _make_training(rate: float) -> Callable[..., tuple[Any, jax.Array]]:
    """Makes `(params, masks, batch, steps) → (params, losses (steps,))`: gradient descent."""

    def apply_fn(variables: Any, inputs: Any, key: Any) -> tuple[jax.Array, dict[str, Any]]:
        del key
        return network(variables["params"], inputs), {}

    model = Model(lambda key, inputs: {}, apply_fn)  # students have their own initial weights
    method, tx = dense.dense(), optax.sgd(rate)
    step = make_step(task.regression(model), method, tx, kind="plain")

    def train(params: Any, masks: Any, batch: Any, steps: int) -> tuple[Any, jax.Array]:
        state = state_of({"params": params}, method, tx, jax.random.key(0))
        state = dataclasses.replace(state, masks=masks)

        def turn(state: TrainState, _: Any) -> tuple[TrainState, jax.Array]:
            state, metrics = step(state, batch)
            return state, metrics["loss"]

        state, losses = jax.lax.scan(turn, state, length=steps)
        return state.params, losses

    return train


def _glorot(config: ConfigDict, width: int) -> dict[str, float]:
    ends = {"hidden": config.inputs + width, "out": width + config.outputs}
    return {name: float(np.sqrt(6 / end)) for name, end in ends.items()}


def _uniform(
    key: jax.Array, shapes: Mapping[str, tuple[int, int]], limits: Mapping[str, float]
) -> dict[str, jax.Array]:
    keys = dict(zip(shapes, jax.random.split(key, len(shapes)), strict=True))
    return {
        name: jax.random.uniform(keys[name], shape, minval=-limits[name], maxval=limits[name])
        for name, shape in shapes.items()
    }


def _came(config: ConfigDict, losses: np.ndarray, norms: np.ndarray) -> dict[str, Any]:
    """Returns the results of one student, as fields of its record."""
    growths = config.width - config.start
    starts = config.interval * np.arange(1, growths + 1)
    ends = [*starts[1:], len(losses)]
    return {
        "losses": [round(float(loss), 6) for loss in losses[:: config.every]],
        "loss_after_first": round(float(losses[starts[0] :].mean()), 6),
        "loss_after_growth": [
            round(float(losses[a:b].mean()), 6) for a, b in zip(starts, ends, strict=True)
        ],
        "last_loss": round(float(losses[-1]), 6),
        "gradient_norms": [[round(float(x), 6) for x in pair] for pair in norms],
    }


def _describe(config: ConfigDict, arm: str, seed: int) -> dict[str, Any]:
    return {
        "study": config.study,
        "arm": arm,
        "config": config.to_dict(),
        "seed": seed,
        **provenance(),
    }
