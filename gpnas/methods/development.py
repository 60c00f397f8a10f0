"""Development: coupled growth and pruning, by analogy with the developing brain.

The density overshoots and then declines. Growth and pruning happen in the same mask updates, with
scores of the same unit.
"""

from typing import Literal

from gpnas.masks import allocate, budget, plasticity, schedule, score
from gpnas.methods._method import Forecast, Method, rate_until
from gpnas.methods._settings import Count, Decay, Density, Fraction, Multiple, NonNegative, Steps

ScoreName = Literal[
    "magnitude", "gradient", "momentum", "taylor",
    "fisher", "removal_cost", "growth_gain", "random",
]  # fmt: skip


def development(
    *,
    density: Density,
    total_steps: int,
    batch_size: int,
    peak: Multiple = 12.0,
    peak_at: Fraction = 0.05,
    stop_at: Fraction = 0.75,
    churn: NonNegative = 0.3,
    drop: ScoreName = "magnitude",
    grow: ScoreName = "growth_gain",
    decay: Decay = 0.9,
    denoise: bool = False,
    every: Count,
    window: Count,
    protect: Steps,
    rest: Steps = 0,
    survival_age: Steps,
    stagger_at: NonNegative = 0.0,
    price: NonNegative = 0.0,
    hysteresis: NonNegative = 0.1,
    allocation: allocate.Allocation = allocate.global_(),
    seed_allocation: allocate.Allocation = allocate.erk(),
) -> Method:
    """The coupled method: growth and pruning in the same mask updates, along one density curve.

    The density follows the developmental curve (overshoot, then decline). At each mask update,
    (R + Δ)/2 weights are grown and (R − Δ)/2 are pruned, with Δ the change of the number of active
    weights and R the exchanged number. Scores are estimated changes of the loss.

    Args:
      density: Final density, in (0, 1]; also that of the random initial masks.
      total_steps: Length of the run.
      batch_size: Images per step, for the empirical Fisher.
      peak: Height of the overshoot as a multiple of `density`.
      peak_at, stop_at: Times of the peak and of the final density, as fractions of the run.
      churn: ρ₀, initial exchanged fraction of active weights; cosine decay. 0: the pipeline.
      drop, grow: Names of the scores for pruning and growth.
      decay: Decay of the moving averages of the gradient and its square.
      denoise: Whether `growth_gain` subtracts the expected contribution of gradient noise.
      every: Steps between mask updates.
      window: Steps before each mask update in which statistics of the dense gradient are updated.
      protect: Steps during which grown weights are not pruned.
      rest: Steps before a pruned weight may be grown again; 0: in the same update.
      survival_age: If not 0, scores for growth are multiplied by the fraction of a leaf's grown
        weights that reached this age.
      stagger_at: Delay of the last leaf's density curve, as a fraction of the run; needs an
        allocation by leaf.
      price: If not 0, the rate of `budget.dual_price`, which then sets the counts.
      hysteresis: Relative margin above the price at which weights are grown.
      allocation: Splits the density over leaves; with `global_`, leaves compete.
      seed_allocation: Splits the initial density over leaves.

    References:
      Huttenlocher 1979 for the curve; the docs page `development` for the method and its sources.
    """
    stop, delay = round(stop_at * total_steps), round(stagger_at * total_steps)
    curve = schedule.developmental(density, peak, round(peak_at * total_steps), stop)
    scores = _scores(decay, batch_size, denoise)
    transform = plasticity(
        drop=scores[drop],
        grow=scores[grow],
        density=curve,
        churn=schedule.cosine(churn, stop),
        allocation=allocation,
        seed_allocation=seed_allocation,
        every=every,
        stop=stop + delay + every,
        window=window,
        protect=protect,
        rest=rest,
        survival_age=survival_age or None,
        lookahead=every,
        stagger=delay,
        budget=budget.dual_price(price, hysteresis, stop=stop - every) if price else None,
    )
    forecast = Forecast(
        schedule.held(curve, every, lookahead=every),
        rate_until(stop + delay, min(window / every, 1.0)),
    )
    return Method(transform, forecast)


def _scores(decay: float, batch_size: int, denoise: bool) -> dict[str, score.Score]:
    return {
        "magnitude": score.magnitude(),
        "gradient": score.gradient(),
        "momentum": score.momentum(decay),
        "taylor": score.taylor(),
        "fisher": score.fisher(decay, batch_size),
        "removal_cost": score.removal_cost(decay, batch_size),
        "growth_gain": score.growth_gain(decay, batch_size, denoise=denoise),
        "random": score.random(),
    }
