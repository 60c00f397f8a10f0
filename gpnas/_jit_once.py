"""Compilation of programs that run once."""

from collections.abc import Callable
from typing import Any

import jax

_COMPILE_FAST = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_llvm_disable_expensive_passes": True,
}


def jit_once(f: Callable, **options: Any) -> Callable:
    """Returns `jax.jit(f, **options)` for a program that runs once.

    On a CPU it is compiled without most optimizations, which take longer than such a program runs.
    """
    if jax.default_backend() != "cpu":
        return jax.jit(f, **options)
    fast = jax.jit(f, compiler_options=_COMPILE_FAST, **options)

    def call(*args: Any) -> Any:
        # JAX refuses compiler options in a traced function, `eval_shape` for example.
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args))
        return f(*args) if traced else fast(*args)

    return call
