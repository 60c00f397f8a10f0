"""Development with changes that its settings do not have."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.studies.coupling.rivals import Curve, on_curve
from gpnas.gates import gaussian
from gpnas.masks import MaskContext, allocate, schedule, score
from gpnas.methods import Method, all_ones
from gpnas.methods.development import development
from gpnas.methods.gmp import gmp
from gpnas.methods.granet import granet

_WARM_UP = 20  # steps


def _changed(change: Callable[[Method], Method]) -> Callable[..., Method]:
    """Returns a method with the settings of development, and a change of what it returns."""

    @functools.wraps(development)
    def method(**settings: Any) -> Method:
        return change(development(**settings))

    return method


#: A grown weight has the value that it last had, or its initial one, instead of zero.
grown_at_last_value = _changed(lambda method: method._replace(zero_mask=all_ones))


class Ages(NamedTuple):
    """State of `scale_by_age`: steps since each weight was grown, int32, as the params."""

    steps: Any


def scale_by_age(warm_up: int) -> optax.GradientTransformationExtraArgs:
    """Scales updates of weights that were active for n steps by min(1, n / `warm_up`).

    Its `update` needs the extra argument `masks`.
    """

    def init(params: Any) -> Ages:
        return Ages(jax.tree.map(lambda w: jnp.zeros(w.shape, jnp.int32), params))

    def update(
        updates: Any, state: Ages, params: Any = None, *, masks: Any, **extra: Any
    ) -> tuple[Any, Ages]:
        del params, extra
        ages = jax.tree.map(lambda n, m: jnp.where(m, n + 1, 0), state.steps, masks)
        return jax.tree.map(lambda u, n: u * jnp.minimum(1.0, n / warm_up), updates, ages), Ages(
            ages
        )

    return optax.GradientTransformationExtraArgs(init, update)


#: The learning rate of a grown weight rises from zero over 20 steps.
grown_with_warm_up = _changed(
    lambda method: method._replace(wrap=lambda tx: optax.chain(tx, scale_by_age(_WARM_UP)))
)


def noisy(
    *,
    density: float,
    total_steps: int,
    batch_size: int,
    images: int,
    peak: float,
    churn: float,
    every: int,
    window: int,
    allocation: allocate.Allocation,
    weight: float,
    by_noise: bool = False,
) -> Method:
    """Development with Gaussian noise on active weights, of variances learned as in sparse VD.

    A second forward and backward pass per step doubles the training FLOPs.

    Args:
      density, total_steps, batch_size, peak, churn, every, window, allocation: As in
        `gpnas.methods.development`.
      images: Number of training examples.
      weight: Weight of the divergence from a tenth of the run on, increasing from zero before; 1 is
        the variational bound.
      by_noise: Whether weights are pruned by their signal-to-noise ratio instead of |w|.

    References:
      Molchanov et al. 2017 (arXiv:1701.05369), equations 9 and 14.
    """
    curve = Curve(density, total_steps, peak, churn, every, window)
    drop = _signal_to_noise() if by_noise else score.magnitude()
    gain = score.growth_gain(0.9, batch_size)
    return _with_noise(on_curve(curve, drop, gain, allocation), weight, total_steps, images)


def _noisy_baseline(make: Callable[..., Method]) -> Callable[..., Method]:
    """Returns a baseline with the noise of `noisy`.

    Args:
      make: `gmp` or `granet`.
    """

    def method(
        *,
        density: float,
        total_steps: int,
        images: int,
        first: float,
        every: int,
        allocation: allocate.Allocation,
        weight: float,
    ) -> Method:
        own = make(
            density=density, total_steps=total_steps, first=first, every=every,
            allocation=allocation,
        )  # fmt: skip
        return _with_noise(own, weight, total_steps, images)

    return method


noisy_gmp = _noisy_baseline(gmp)
noisy_granet = _noisy_baseline(granet)


def _with_noise(method: Method, weight: float, total_steps: int, images: int) -> Method:
    rise = schedule.linear(0.0, weight, 0, round(0.1 * total_steps))
    forecast = method.forecast._replace(relative_step_cost=2.0)
    return method._replace(forecast=forecast, gates=gaussian.variational(rise, images, -8.0))


def _signal_to_noise() -> score.Score:
    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Any:
        del kept
        return {p: jnp.square(w) * jnp.exp(-ctx.gates[p]) for p, w in ctx.params.items()}

    return score.Score("signal to noise", {}, value)
