"""Eight virtual CPU devices, a persistent compilation cache, and shared fixtures.

`strict` disables implicit promotion of dtypes (bool times float, int times float) and of ranks.
Tests that run only gpnas code use it. Flax (bfloat16 norms) and Optax (counts) mix types
internally, so tests of models and training do not. CONTRIBUTING.md describes the marks.
"""

import contextlib
import gc
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import jax
import numpy as np
import pytest

from gpnas import _files, _stop, data
from gpnas.models import _registry, _resnet, cell201
from gpnas.train import Stopped, _checkpoint, _flush

DEVICES = 8
ROOT = Path(__file__).parents[1]

# Traced programs are many long-lived objects. With the default threshold of 700, garbage collection
# took 6 % of the time of tests/masks; with this threshold it takes 2 % of that of all tests.
gc.set_threshold(50_000, 20, 100)
# Compiling takes most of a test's time. XLA's older emitters compile in half the time of its fusion
# emitters, and one module in 0.9 of that of several; started processes inherit the flags.
_FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}"
jax.config.update("jax_num_cpu_devices", DEVICES)
jax.config.update("jax_disable_most_optimizations", True)
CACHE = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(_files.cache_home() / "compiled"))
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
# The same for processes started by tests.
os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

hypothesis.settings.register_profile(
    "gpnas",
    deadline=None,  # the first example includes compilation
    max_examples=30,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("gpnas")


@contextlib.contextmanager
def _stages(count: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (cell201, _registry, _resnet):
            patch.setattr(module, "STAGES", count)
        yield


@pytest.fixture(scope="module")
def one_stage() -> Iterator[None]:
    """Uses networks with one stage; three would take three times as long to compile."""
    with _stages(1):
        yield


@pytest.fixture
def two_stages() -> Iterator[None]:
    """Uses networks with two stages, with one shortcut that changes the width."""
    with _stages(2):
        yield


@pytest.fixture
def strict() -> Iterator[None]:
    """Disables implicit promotion of dtypes and ranks."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session")
def forked() -> Iterator[Callable]:
    """`(arguments, cwd, env) → finished process`, forked from a Python with imports done."""
    with tempfile.TemporaryDirectory() as folder:  # socket paths must be short
        place = os.path.join(folder, "socket")
        command = [sys.executable, str(ROOT / "tests" / "_forked.py"), place]
        env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        server = subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert server.stdout.readline() == "ready\n"

        def call(arguments: list[str], cwd: Path, env: dict[str, str]) -> Any:
            with tempfile.TemporaryDirectory() as own, socket.socket(socket.AF_UNIX) as wire:
                out = {name: os.path.join(own, name) for name in ("stdout", "stderr")}
                wire.settimeout(300)
                wire.connect(place)
                request = {"arguments": arguments, "cwd": str(cwd), "env": env, **out}
                wire.sendall(f"{json.dumps(request)}\n".encode())
                code = int(wire.makefile().readline())
                texts = [Path(path).read_text() for path in out.values()]
            return subprocess.CompletedProcess(arguments, code, *texts)

        yield call
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def python(forked: Callable, tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """`(*arguments, devices, cwd) → finished process` of Python that can import the repository."""
    home = tmp_path_factory.mktemp("home")

    def call(*arguments: object, devices: int = 1, cwd: Path = ROOT) -> Any:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = os.environ | {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "PYTHONPATH": os.pathsep.join(paths),
            "JAX_NUM_CPU_DEVICES": str(devices),
            "JAX_PLATFORMS": "cpu",
        }
        return forked(list(map(str, arguments)), cwd, env)

    return call


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> data.Dataset:
    """The digits data set, with 1,293 training examples."""
    return data.load("digits", cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """`step → context` in which a run is asked to stop at the first log point from that step on."""

    @contextlib.contextmanager
    def stopping(step: int) -> Iterator[None]:
        seen, log = [0], _flush.log_interval

        def watched(replica: Any, counts: Any, *rest: Any) -> Any:
            seen[0] = int(counts.step)
            return log(replica, counts, *rest)

        @contextlib.contextmanager
        def signal() -> Iterator[Callable[[], bool]]:
            yield lambda: seen[0] >= step

        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(_flush, "log_interval", watched)
            patch.setattr(_stop, "stop_signal", signal)
            yield

    return stopping


@pytest.fixture(scope="session")
def all_saves() -> Callable:
    """`() → context` of `{folder: {step: [state of each replica]}}`, all checkpoints as NumPy."""

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
    """`size → context` that limits files to `size` bytes, as on a full disk."""

    @contextlib.contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
