"""Eight virtual CPU devices, a compilation cache that outlives the run, and strict arithmetic.

Strict means that an array of one type never becomes another by itself (a bool times a float, an
int times a float) and that ranks are never made equal by guessing. It holds for the folders and
files below, which test code of ours alone; Flax (bfloat16 norms) and Optax (counts) mix types
inside, so models and training are tested without.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import pytest

STRICT = ("masks", "methods", "sensitivity", "units")
STRICT_FILES = ("test_gates_gaussian", "test_gates_concrete", "test_gates_binary")
HURRIED = ("configs", "gates", "train")
DEVICES = 8

_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpnas" / "compiled"
jax.config.update("jax_num_cpu_devices", DEVICES)
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    jax.config.update("jax_compilation_cache_dir", str(_cache))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

hypothesis.settings.register_profile(
    "gpnas",
    deadline=None,  # the first example compiles
    max_examples=30,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("gpnas")


@pytest.fixture(autouse=True)
def strict(request: pytest.FixtureRequest) -> Iterator[None]:
    """No implicit change of dtype or rank where it is strict."""
    path = Path(request.path)
    if path.parent.name not in STRICT and path.stem not in STRICT_FILES:
        yield
        return
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(autouse=True, scope="module")
def hurry(request: pytest.FixtureRequest) -> Iterator[None]:
    """No optimizations in folders whose runs do little but compile: half the time."""
    hurried = Path(request.path).parent.name in HURRIED
    jax.config.update("jax_disable_most_optimizations", hurried)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
