"""Compilation of programs that run rarely."""

from collections.abc import Callable
from typing import Any

import jax

_COMPILE_FAST = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_llvm_disable_expensive_passes": True,
}


def jit_once(f: Callable, **options: Any) -> Callable:
    """Returns `jax.jit(f, **options)` for a program that runs once, or briefly.

    On a CPU it is compiled without most optimizations, which take longer than such a program runs.
    """
    usual = jax.jit(f, **options)
    fast = jax.jit(f, compiler_options=_COMPILE_FAST, **options)

    def call(*args: Any) -> Any:
        # JAX refuses compiler options in a traced function, `eval_shape` for example.
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args))
        return (usual if traced or jax.default_backend() != "cpu" else fast)(*args)

    return call
