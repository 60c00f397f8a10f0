"""The train state: one pytree with the complete state of a run."""

from typing import Any

import flax
import jax

from gpnas.train._counters import Counters


@flax.struct.dataclass
class TrainState:
    """What a train step carries, and exactly what a checkpoint holds.

    Attributes:
      step: () int32, steps done.
      params: Parameters; zero where masked, unless the method keeps the values of inactive weights.
      masks: Bool, of the params' structure; a scalar True where a leaf is not masked.
      mask_state: State of the mask transform.
      opt_state: State of the optimizer.
      model_state: The model's other variables (batch statistics).
      aux: Parameters of gates, for methods that change the forward pass; else empty.
      aux_opt_state: State of their optimizer.
      key: The run's random key; step t uses `fold_in(key, t)`.
      counters: Exact running counts, see `Counters`.
    """

    step: jax.Array
    params: Any
    masks: Any
    mask_state: Any
    opt_state: Any
    model_state: Any
    aux: Any
    aux_opt_state: Any
    key: jax.Array
    counters: Counters
