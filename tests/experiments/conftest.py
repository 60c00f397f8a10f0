"""Python in a process of its own, with the repository on its path."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """`(*arguments, cwd) → finished process`."""
    home = tmp_path_factory.mktemp("home")
    cache = jax.config.jax_compilation_cache_dir or home / "compiled"
    settings = {
        "HOME": home,
        "XDG_CACHE_HOME": home / "cache",
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }

    def call(*arguments, cwd=ROOT):
        env = os.environ | {name: str(value) for name, value in settings.items()}
        env["PYTHONPATH"] = str(ROOT)  # of this checkout, wherever an installed one lies
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, env=env, cwd=cwd, capture_output=True, text=True, check=False, timeout=300
        )

    return call
