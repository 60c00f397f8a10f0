"""Weights for evaluation: averages of the trained weights in an optimizer's state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gpnas.masks import tree


class EmaState(NamedTuple):
    """State of `params_ema`.

    Attributes:
      steps: () int32, number of steps.
      params_ema: The average, of the structure of the params.
    """

    steps: jax.Array
    params_ema: Any


def params_ema(decay: float) -> optax.GradientTransformation:
    """Keeps an exponential moving average of the params; updates are unchanged.

    The decay of step t is min(decay, (1 + t)/(10 + t)), so that the initial weights have
    little influence. It must be the last of a chain, since it averages the updated params.

    Args:
      decay: Decay of the average, in [0, 1).

    Raises:
      ValueError: On update, if `params` is missing.
    """

    def init_fn(params: Any) -> EmaState:
        return EmaState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update_fn(updates: Any, state: EmaState, params: Any = None) -> tuple[Any, EmaState]:
        if params is None:
            raise ValueError(optax.NO_PARAMS_MSG)
        steps = state.steps + 1
        rate = 1 - jnp.minimum(decay, (1 + steps) / (10 + steps))
        new = optax.apply_updates(params, updates)
        ema = jax.tree.map(lambda a, p: a + rate.astype(a.dtype) * (p - a), state.params_ema, new)
        return updates, EmaState(steps, ema)

    return optax.GradientTransformation(init_fn, update_fn)


def averages(opt_state: Any) -> bool:
    """Returns whether `evaluation_params` differ from the trained params."""
    kinds = EmaState, optax.contrib.ScheduleFreeState
    return any(True for kind in kinds for _ in tree.nodes_of(kind, opt_state))


def evaluation_params(opt_state: Any, params: Any) -> Any:
    """Returns params for evaluation: of `params_ema`, a schedule-free optimizer, else `params`.

    Args:
      opt_state: State of an optimizer.
      params: The trained params.
    """
    for ema in tree.nodes_of(EmaState, opt_state):
        return ema.params_ema
    for node in tree.nodes_of(optax.contrib.ScheduleFreeState, opt_state):
        return optax.contrib.schedule_free_eval_params(node, params)
    return params
