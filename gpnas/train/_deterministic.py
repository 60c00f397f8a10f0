"""Deterministic GPU programs: a flag that XLA reads once."""

import os

from jax._src import xla_bridge  # no public function reports whether a backend has started

from gpnas.errors import UserError

# Excludes operations whose results depend on thread order, and kernels selected by timing.
_FLAG = "--xla_gpu_deterministic_ops=true"


def is_deterministic() -> bool:
    """Returns whether XLA's flag for deterministic GPU programs is set in this process."""
    return _FLAG in os.environ.get("XLA_FLAGS", "").split()


def set_deterministic(wanted: bool) -> None:
    """Adds XLA's flag for deterministic GPU programs to XLA_FLAGS of this process.

    Args:
      wanted: `train.deterministic`; False has no effect.

    Raises:
      UserError: If JAX's backend has started without the flag.
    """
    if not wanted or is_deterministic():
        return
    if xla_bridge.backends_are_initialized():
        allowed = f"False, or XLA_FLAGS={_FLAG} in the environment: JAX has started without it"
        raise UserError("train.deterministic", True, allowed)
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}"
