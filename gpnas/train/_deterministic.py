"""Deterministic programs on GPUs: a flag of XLA's, which it reads once."""

import os

from jax._src import xla_bridge  # no public function says whether a backend has started

from gpnas.errors import UserError

# No operation whose result depends on the order of threads, and no kernels chosen by their time.
_FLAG = "--xla_gpu_deterministic_ops=true"


def set_deterministic(wanted: bool) -> None:
    """Adds XLA's flag for deterministic GPU programs to XLA_FLAGS of this process.

    Args:
      wanted: `train.deterministic`; if False, nothing is done.

    Raises:
      UserError: If JAX's backend has started without it.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    if not wanted or _FLAG in flags:
        return
    if xla_bridge.backends_are_initialized():
        allowed = f"False, or XLA_FLAGS={_FLAG} in the environment: JAX has started without it"
        raise UserError("train.deterministic", True, allowed)
    os.environ["XLA_FLAGS"] = " ".join([*flags, _FLAG])
