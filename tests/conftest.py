"""Eight virtual CPU devices, a compilation cache that outlives the run, and shared fixtures.

`strict` means that an array of one type never becomes another by itself (a bool times a float, an
int times a float) and that ranks are never made equal by guessing. Folders and files that test code
of ours alone use it; Flax (bfloat16 norms) and Optax (counts) mix types inside, so models and
training are tested without. `./run.sh test --fast` leaves out tests marked `slow`.
"""

import contextlib
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import jax
import numpy as np
import pytest

from gpnas import _files, _stop, data
from gpnas.models import cell201
from gpnas.train import Stopped, _checkpoint, _flush

DEVICES = 8

jax.config.update("jax_num_cpu_devices", DEVICES)
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    jax.config.update("jax_compilation_cache_dir", str(_files.cache_home() / "compiled"))
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


@pytest.fixture(scope="module")
def one_stage() -> Iterator[None]:
    """Networks of one stage, where three would take three times as long to compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell201, "STAGES", 1)
        yield


@pytest.fixture
def strict() -> Iterator[None]:
    """No implicit change of dtype or rank."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="module")
def hurry() -> Iterator[None]:
    """No optimizations, for runs that do little but compile: half the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> data.Dataset:
    """The digits; 1,293 of them to train on."""
    return data.load("digits", cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """`step → context` in which a run is asked to stop at its first log point from that step on."""

    @contextlib.contextmanager
    def stopping(step: int) -> Iterator[None]:
        seen, log = [0], _flush._log

        def watched(replica: Any, counts: Any, *rest: Any) -> Any:
            seen[0] = int(counts.step)
            return log(replica, counts, *rest)

        @contextlib.contextmanager
        def signal() -> Iterator[Callable[[], bool]]:
            yield lambda: seen[0] >= step

        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(_flush, "_log", watched)
            patch.setattr(_stop, "stop_signal", signal)
            yield

    return stopping


@pytest.fixture(scope="session")
def all_saves() -> Callable:
    """`() → context` of `{folder: {step: [state of each replica]}}`, all checkpoints, as NumPy."""

    def plain(leaf: jax.Array) -> np.ndarray:
        key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.array(jax.random.key_data(leaf) if key else leaf)

    @contextlib.contextmanager
    def watching() -> Iterator[dict]:
        found: dict = {}
        save = _checkpoint.save

        def keep(folder: Path, step: int, tree: Any, *about: Any) -> None:
            save(folder, step, tree, *about)
            found.setdefault(folder.parent, {})[step] = jax.tree.map(plain, tree[0])

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_checkpoint, "save", keep)
            yield found

    return watching


@pytest.fixture(scope="session")
def no_room() -> Callable:
    """`size → context` in which no file can grow beyond so many bytes, as on a full disk."""

    @contextlib.contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
