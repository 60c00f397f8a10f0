"""The train state: one pytree with the complete state of a run."""

import hashlib
from typing import Any

import flax
import jax

from gpnas.masks import tree
from gpnas.train import _processes
from gpnas.train._counters import Counters


@flax.struct.dataclass
class TrainState:
    """The state of a train step, which is exactly the content of a checkpoint.

    Attributes:
      step: () int32, number of steps done.
      params: Parameters; inactive weights are zero, unless the method keeps their values.
      masks: Bool, of the params' structure; a scalar True where a leaf is not masked.
      mask_state: State of the mask transform.
      opt_state: State of the optimizer.
      model_state: The model's other variables (batch statistics).
      aux: Parameters of gates, for methods that change the forward pass; else empty.
      aux_opt_state: State of their optimizer.
      key: The run's random key; step t uses `fold_in(key, t)`.
      counters: Running counts, see `Counters`.
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


def state_digest(state: Any) -> str:
    """Returns the SHA-256 of a state: of path, dtype, shape and bytes of each leaf."""
    found, arrays = hashlib.sha256(), jax.tree.leaves(_processes.to_numpy(state))
    for (path, leaf), array in zip(jax.tree.leaves_with_path(state), arrays, strict=True):
        found.update(f"{tree.path_name(path)} {leaf.dtype} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()
