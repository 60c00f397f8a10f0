"""The optimizer of a run, from its config."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from gpnas import plugins
from gpnas.errors import UserError, brief
from gpnas.masks import AxesTable, decay_mask
from gpnas.train._config import base

_MASKS = ("mask", "weight_decay_mask")  # names in optax of the weight decay's mask
_GIVEN = ("learning_rate", "weight_decay", *_MASKS)  # set by other fields, or by gpnas


def build_optimizer(
    config: ConfigDict,
    total_steps: int,
    axes: AxesTable | None = None,
    section: str = "optimizer",
) -> optax.GradientTransformation:
    """Builds an optimizer with learning-rate schedule, weight decay and gradient clipping.

    The optimizer is a function of Optax or `optax.contrib`, or a user's `module:function` annotated
    to return a `GradientTransformation`. It must take a schedule, and its update must need
    gradients and params only: `lbfgs` (needs the loss) and `sm3` (no schedule) are refused.

    A user's schedule, `module:function`, is `(learning_rate, steps) → optax.Schedule`, for the
    steps after warm-up and after `decay_at`.

    If the optimizer has a weight decay with a mask (such as AdamW), it is used; otherwise the decay
    is added to the gradient (such as for SGD).

    Args:
      config: The `optimizer` section.
      total_steps: Length of the run.
      axes: `Axes` by path glob: biases of stacked layers are not decayed.
      section: Name of the section in error messages.

    Raises:
      UserError: For an unknown optimizer, argument or schedule, or a value out of range.
    """
    function = find_optimizer(f"{section}.name", config.name)
    known = plugins.parameters_of(function)
    for field in ("weight_decay", "clip_norm"):
        if not 0 <= config[field] < math.inf:
            raise UserError(f"{section}.{field}", config[field], "0 or more")
    if not 0 <= config.ema < 1:
        raise UserError(f"{section}.ema", config.ema, "a decay in [0, 1)")
    arguments: dict[str, Any] = dict(config.arguments)
    for name, value in arguments.items():
        if name not in known or name in _GIVEN:
            own = ", ".join(n for n in known if n not in _GIVEN)
            raise UserError(f"{section}.arguments.{name}", value, f"one of {own}")
    decayed = functools.partial(decay_mask, axes=axes)
    parts = []
    if config.clip_norm:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    filters = {name: decayed for name in _MASKS if name in known}
    if "weight_decay" in known and filters:
        arguments |= {"weight_decay": config.weight_decay} | filters
    elif config.weight_decay:
        parts.append(optax.add_decayed_weights(config.weight_decay, mask=decayed))
    make = functools.partial(function, _learning_rate(config, total_steps, section), **arguments)
    return _checked(make, parts, config, section)


def _checked(
    make: Callable[[], Any],
    parts: Sequence[optax.GradientTransformation],
    config: ConfigDict,
    section: str,
) -> optax.GradientTransformation:
    """Chains `parts` and the optimizer; raises UserError if it cannot be made, or updated."""
    try:
        own = plugins.check_made(
            f"{section}.name", config.name, make(), optax.GradientTransformation
        )
        tx = optax.chain(*parts, own)
        weights = {"kernel": jnp.zeros((2, 2))}
        jax.eval_shape(lambda w: tx.update(w, tx.init(w), w), weights)
    except UserError:
        raise
    except Exception as error:  # user code may raise anything
        if config.arguments:
            field, got, allowed = "arguments", dict(config.arguments), f"what {config.name} takes"
        else:
            allowed = "an optimizer that takes a schedule and needs only gradients"
            field, got = "name", config.name
        raise UserError(f"{section}.{field}", got, f"{allowed} ({brief(error)})") from error
    return tx


def find_optimizer(field: str, name: str) -> Callable[..., optax.GradientTransformation]:
    """Finds an optimizer of Optax or `optax.contrib` by name, or a user's `module:function`.

    Args:
      field: The field of the config, for messages.
      name: Name of the optimizer.

    Raises:
      UserError: If it does not exist, or has no argument `learning_rate`.
    """
    if ":" in str(name):
        function: Any = plugins.find(field, name, {}, optax.GradientTransformation)
    else:
        spaces = (optax, optax.contrib)
        function = next((f for f in (getattr(s, name, None) for s in spaces) if f), None)
    known = plugins.parameters_of(function) if inspect.isfunction(function) else {}
    if "learning_rate" not in known:
        allowed = (
            "an optimizer of optax or optax.contrib (sgd, adam, adamw, lion, muon, …), or"
            " module:function; with a learning_rate"
        )
        raise UserError(field, name, allowed)
    return function


def scale_by_rate() -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by −`rate`, an argument of `update`, () float32.

    One compiled step then serves any learning-rate schedule: `step(state, batch, rate=…)`.
    """

    def update(grads: Any, state: Any, params: Any = None, *, rate: Any, **extra: Any) -> tuple:
        del params, extra
        return jax.tree.map(lambda g: -rate * g, grads), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def build_gate_optimizer(config: ConfigDict, total_steps: int) -> optax.GradientTransformation:
    """Builds the optimizer of the gates: `gates.name`, or that of the weights if it is empty.

    Gates have no weight decay and no gradient clipping.

    Args:
      config: The config of a run; its sections `gates` and `optimizer` are read.
      total_steps: Length of the run.

    Raises:
      UserError: As for `build_optimizer`.
    """
    section, own = config.optimizer.copy_and_resolve_references(), config.gates
    section.update(weight_decay=0.0, clip_norm=0.0)
    if not own.name:
        if own.learning_rate != (default := base().gates.learning_rate):
            raise UserError(
                "gates.learning_rate", own.learning_rate, f"{default} without gates.name"
            )
        return build_optimizer(section, total_steps)
    section.update(own, schedule="constant", warmup_at=0.0, decay_at=0.0)
    section.arguments = ConfigDict()
    return build_optimizer(section, total_steps, section="gates")


def learning_rate(
    config: ConfigDict, total_steps: int, trainings: int = 1
) -> Callable[[int], jax.Array]:
    """Returns the learning rate, `step → () float32`: the rate of the last of `step` steps.

    Args:
      config: The `optimizer` section.
      total_steps: Length of the run.
      trainings: Number of trainings in the run, each with its own schedule.
    """
    length = total_steps // trainings
    schedule = _learning_rate(config, length, "optimizer")
    return jax.jit(lambda step: jnp.asarray(schedule((step - 1) % length), jnp.float32))


def _learning_rate(config: ConfigDict, total_steps: int, section: str) -> optax.Schedule:
    if not 0 < config.learning_rate < math.inf:
        raise UserError(f"{section}.learning_rate", config.learning_rate, "a number above 0")
    if not 0 <= config.warmup_at < 1:
        raise UserError(f"{section}.warmup_at", config.warmup_at, "a fraction in [0, 1)")
    if not config.warmup_at <= config.decay_at < 1 and config.decay_at:
        raise UserError(f"{section}.decay_at", config.decay_at, "a fraction in [warmup_at, 1)")
    warmup = round(config.warmup_at * total_steps)
    flat = max(round(config.decay_at * total_steps) - warmup, 0)
    fall = max(total_steps - warmup - flat, 1)
    rate = config.learning_rate
    after = _held(_schedule(config.schedule, rate, fall, section), flat)
    if not warmup:
        return after
    rise = optax.linear_schedule(0.0, config.learning_rate, warmup)
    return optax.join_schedules([rise, after], [warmup])


_SCHEDULES: Mapping[str, Callable[[float, int], optax.Schedule]] = {
    "cosine": optax.cosine_decay_schedule,
    "linear": lambda rate, steps: optax.linear_schedule(rate, 0.0, steps),
    "constant": lambda rate, steps: optax.constant_schedule(rate),
}


def _schedule(name: str, rate: float, steps: int, section: str) -> optax.Schedule:
    """Returns a built-in schedule, or a user's schedule, which is checked by tracing."""
    field = f"{section}.schedule"
    make = plugins.find(field, name, _SCHEDULES)
    allowed = "a function of learning rate and steps that returns a schedule"
    schedule = plugins.call_user(field, name, allowed, make, rate, steps)
    step = jax.ShapeDtypeStruct((), jnp.int32)
    found = plugins.call_user(field, name, allowed, jax.eval_shape, schedule, step)
    if getattr(found, "shape", None) != () or not jnp.issubdtype(found.dtype, jnp.floating):
        raise UserError(
            field, name, f"a schedule whose values are () float32, not {_shape_of(found)}"
        )
    return schedule


def _shape_of(found: Any) -> str:
    return f"{found.shape} {found.dtype}" if hasattr(found, "dtype") else str(found)


def _held(schedule: optax.Schedule, steps: int) -> optax.Schedule:
    """Returns the schedule, with its first value held for the first steps."""
    return (lambda step: schedule(jnp.maximum(step - steps, 0))) if steps else schedule
