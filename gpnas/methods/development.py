"""Development: coupled growth and pruning, by analogy with the developing brain.

The density overshoots and then declines. Weights are grown and pruned in the same mask updates.
"""

from typing import Literal

from gpnas._settings import Count, Decay, Density, Fraction, Multiple, NonNegative
from gpnas.masks import allocate, plasticity, schedule, score
from gpnas.methods._method import Method, forecast_developmental

ScoreName = Literal["magnitude", "gradient", "removal_cost", "growth_gain", "random"]


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
    every: Count,
    window: Count,
    allocation: allocate.Allocation = allocate.global_(),
    seed_allocation: allocate.Allocation = allocate.erk(),
) -> Method:
    """Couples growth and pruning in the same mask updates, along one density curve.

    The density follows the developmental curve (overshoot, then decline). At each mask update,
    (R + Δ)/2 weights are grown and (R − Δ)/2 are pruned, with Δ the change of the number of active
    weights and R the exchanged number. The scores `removal_cost` and `growth_gain` estimate changes
    of the loss; by default, weights are pruned by magnitude.

    Args:
      density: Final density, in (0, 1]; also that of the random initial masks.
      total_steps: Length of the run.
      batch_size: Examples per step, for the empirical Fisher.
      peak: Highest density as a multiple of `density`; their product is at most 1.
      peak_at, stop_at: Times at which the peak and the final density are reached, as fractions of
        the run.
      churn: ρ₀, initial exchanged fraction of active weights, half of it grown, half pruned; cosine
        decay. With 0, each mask update either grows or prunes, as in `pipeline`.
      drop, grow: Names of the scores for pruning and growth.
      decay: Decay of the moving averages of the gradient and its square, in [0, 1).
      every: Steps between mask updates.
      window: Steps before each mask update in which statistics of the dense gradient are updated.
      allocation: Splits the density over leaves; with `global_`, leaves compete.
      seed_allocation: Splits the initial density over leaves.

    References:
      Huttenlocher 1979 for the curve; the docs page `development` for the method and its sources.
    """
    stop = round(stop_at * total_steps)
    curve = schedule.developmental(density, peak, round(peak_at * total_steps), stop)
    scores = _scores(decay, batch_size)
    transform = plasticity(
        drop=scores[drop],
        grow=scores[grow],
        density=curve,
        churn=schedule.cosine(churn, stop),
        allocation=allocation,
        seed_allocation=seed_allocation,
        every=every,
        stop=stop + every,
        window=window,
        lookahead=every,
    )
    return Method(transform, forecast_developmental(curve, stop, every, window, allocation))


def _scores(decay: float, batch_size: int) -> dict[str, score.Score]:
    return {
        "magnitude": score.magnitude(),
        "gradient": score.gradient(),
        "removal_cost": score.removal_cost(decay, batch_size),
        "growth_gain": score.growth_gain(decay, batch_size),
        "random": score.random(),
    }
