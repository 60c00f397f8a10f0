"""The optimizer of a run, from its config."""

import inspect
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from gpnas.errors import UserError
from gpnas.masks import is_weight
from gpnas.masks.tree import path_name


def build_optimizer(config: ConfigDict, total_steps: int) -> optax.GradientTransformation:
    """Any optimizer of optax, with a learning-rate schedule, weight decay and clipping around it.

    Args:
      config: The `optimizer` section.
      total_steps: Length of the run.

    Raises:
      UserError: For an unknown optimizer, argument or schedule, or a value out of range.
    """
    function = getattr(optax, config.name, None)
    known = inspect.signature(function).parameters if inspect.isfunction(function) else {}
    if function is None or "learning_rate" not in known:
        raise UserError(
            "optimizer.name", config.name, "an optimizer of optax: sgd, adam, adamw, lion, …"
        )
    for field in ("weight_decay", "clip_norm"):
        if config[field] < 0:
            raise UserError(f"optimizer.{field}", config[field], "0 or more")
    arguments: dict[str, Any] = dict(config.arguments)
    for name, value in arguments.items():
        if name not in known:
            raise UserError(f"optimizer.arguments.{name}", value, f"one of {', '.join(known)}")
    parts = []
    if config.clip_norm:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    if config.weight_decay and "weight_decay" in known:
        arguments |= {"weight_decay": config.weight_decay, "mask": _weights}
    elif config.weight_decay:
        parts.append(optax.add_decayed_weights(config.weight_decay, mask=_weights))
    parts.append(function(_learning_rate(config, total_steps), **arguments))
    return optax.chain(*parts)


def _weights(params: Any) -> Any:
    return jax.tree.map_with_path(lambda path, leaf: is_weight(path_name(path), leaf), params)


def _learning_rate(config: ConfigDict, total_steps: int) -> optax.Schedule:
    if config.learning_rate <= 0:
        raise UserError("optimizer.learning_rate", config.learning_rate, "a number above 0")
    if not 0 <= config.warmup_at < 1:
        raise UserError("optimizer.warmup_at", config.warmup_at, "a fraction in [0, 1)")
    warmup = round(config.warmup_at * total_steps)
    after = {
        "cosine": optax.cosine_decay_schedule(config.learning_rate, max(total_steps - warmup, 1)),
        "constant": optax.constant_schedule(config.learning_rate),
    }
    if config.schedule not in after:
        raise UserError("optimizer.schedule", config.schedule, ", ".join(after))
    rise = optax.linear_schedule(0.0, config.learning_rate, max(warmup, 1))
    return (
        optax.join_schedules([rise, after[config.schedule]], [warmup])
        if warmup
        else after[config.schedule]
    )
