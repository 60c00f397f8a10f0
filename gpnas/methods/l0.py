"""L0 regularisation with hard concrete gates, and with binary gates (L0-ARM)."""

from gpnas._settings import Count, Decay, Penalties, Positive, Probabilities
from gpnas.gates import binary, concrete, masks_from_gates
from gpnas.masks import schedule
from gpnas.methods._method import Method, gated


def l0(
    *,
    total_steps: int,
    images: int,
    penalties: Penalties = (0.1,),
    drops: Probabilities = (0.5,),
    decay: Decay = 0.0,
    every: Count,
) -> Method:
    """Applies L0 regularisation with hard concrete gates on groups of weights.

    Groups are the input units of dense layers and the filters of convolutions; the loss is
    `CE + (1/N) · ΣP(z ≠ 0) · (λ · |group| + ½ · ρ · ‖w‖²)`.

    Args:
      total_steps: Length of the run.
      images: N, number of training examples.
      penalties: λ per weight, 0 or more: one for all, or one per layer in natural order of paths.
      drops: δ in (0, 1), dropout rate that sets the initial log α: one for all, or one per layer.
      decay: ρ, in [0, 1).
      every: Steps between mask updates.

    References:
      Louizos, Welling & Kingma 2018 (arXiv:1712.01312), equations 10 to 15.
    """
    gates = concrete.hard_concrete(penalties, images, decay=decay, drops=drops)
    transform = masks_from_gates(concrete.nonzero_at_test(), every=every, last=total_steps - 1)
    return gated(transform, gates)


def l0_arm(
    *,
    total_steps: int,
    images: int,
    penalties: Penalties = (0.1,),
    sharpness: Positive = 7.0,
    decay: Decay = 0.0,
    every: Count,
) -> Method:
    """Applies L0 regularisation with binary gates and the unbiased ARM gradient.

    Args:
      total_steps, images, penalties, decay, every: As for `l0`.
      sharpness: k of π = sigmoid(k · φ), above 0.

    References:
      Li & Ji 2019 (arXiv:1904.04432), equations 8 to 13.
    """
    gates = binary.bernoulli(penalties, schedule.constant(sharpness), images, decay=decay)
    transform = masks_from_gates(binary.nonzero_at_test(), every=every, last=total_steps - 1)
    return gated(transform, gates, binary.ARM_STEP_COST)
