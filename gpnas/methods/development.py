"""Development: growth and pruning coupled, by analogy with the developing brain.

Connections are grown beyond need and then pruned by use, and the two overlap and share one signal.
"""

from typing import Literal

from gpnas.masks import allocate, budget, plasticity, schedule, score
from gpnas.methods._method import Forecast, Method, rate_until
from gpnas.methods._settings import Count, Decay, Density, Fraction, Multiple, NonNegative, Steps

Judge = Literal[
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
    drop: Judge = "magnitude",
    grow: Judge = "growth_gain",
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
    """The coupled method: one curve, one currency, growth and pruning in the same events.

    The density follows the developmental curve (overshoot, then decline); at each event the counts
    come from one identity, grown = (R + Δ)/2 and pruned = (R − Δ)/2, so growth falls exactly as
    pruning rises; what is grown and what is pruned is judged by the change of the loss it would
    bring.

    Args:
      density: Adult living fraction, in (0, 1]; also that of the random seed network.
      total_steps: Length of the run.
      batch_size: Images a step, for the empirical Fisher.
      peak: Height of the overshoot as a multiple of `density`.
      peak_at, stop_at: When the peak and the adult density are reached, as fractions of the run.
      churn: ρ₀, exchanged fraction of the living at the start; falls as a cosine. 0: the pipeline.
      drop, grow: What judges the living, and the dormant: a score by name.
      decay: Of the moving averages of the gradient and its square.
      denoise: Whether the gain subtracts what gradient noise alone would give.
      every: Steps between events.
      window: Steps before each event in which the dense gradient is looked at.
      protect: Steps for which newborns are not judged.
      rest: Steps that a pruned site rests; 0 lets it regrow at once.
      survival_age: If not 0, growth is weighed by the share of a leaf's newborns that got so old.
      stagger_at: Delay of the last leaf's curve behind the first's, as a fraction of the run; needs
        an allocation by leaf.
      price: If not 0, rate of the price controller that then decides the counts.
      hysteresis: What a dormant weight must be worth above the price.
      allocation: `global_` lets the leaves compete.
      seed_allocation: How the seed network is spread over the leaves.

    References:
      Huttenlocher 1979 for the curve; the docs page `development` for the method and what it owes.
    """
    stop, delay = round(stop_at * total_steps), round(stagger_at * total_steps)
    curve = schedule.developmental(density, peak, round(peak_at * total_steps), stop)
    judges = {
        "magnitude": score.magnitude(),
        "gradient": score.gradient(),
        "momentum": score.momentum(decay),
        "taylor": score.taylor(),
        "fisher": score.fisher(decay, batch_size),
        "removal_cost": score.removal_cost(decay, batch_size),
        "growth_gain": score.growth_gain(decay, batch_size, denoise=denoise),
        "random": score.random(),
    }
    transform = plasticity(
        drop=judges[drop],
        grow=judges[grow],
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
    dense_gradient = rate_until(stop + delay, min(window / every, 1.0))
    return Method(transform, Forecast(curve, dense_gradient))
