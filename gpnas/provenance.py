"""Provenance of numbers: date, revision, versions and machine."""

import datetime
import os
import pathlib
import platform
import subprocess
from importlib import metadata
from typing import Any

import jax

import gpnas

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def provenance() -> dict[str, Any]:
    """Returns the provenance fields of a record: date, code revision, versions and machine.

    Returns:
      `date` (UTC, ISO 8601); `git`, the revision of the checkout that the package runs from, with
      `+` if it has changes, None outside a checkout; `versions` of Python and of the packages that
      affect numbers; `machine`: processor, cores, JAX's devices and processes.
    """
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git": _git_revision(),
        "versions": {
            "python": platform.python_version(),
            "gpnas": gpnas.__version__,
            **{name: metadata.version(name) for name in _PACKAGES},
        },
        "machine": _machine(),
    }


def _git_revision() -> str | None:
    """Returns the Git revision of the package's folder, with `+` if files changed, or None."""
    here = pathlib.Path(gpnas.__file__).parent

    def git(*arguments: str) -> str:
        # A status that is cut off, as on a full disk, must not leave a lock in the repository.
        command = ["git", "--no-optional-locks", "-C", str(here), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # else an environment in a repository
        watched = (":/gpnas", ":/configs", ":/experiments")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *watched)
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _machine() -> dict[str, Any]:
    """Describes the machine: processor, cores, JAX's devices and processes."""
    devices = jax.devices()
    return {
        "platform": platform.platform(terse=True),
        "processor": _processor(),
        "cores": cores(),
        "backend": jax.default_backend(),
        "device": devices[0].device_kind,
        "devices": len(devices),
        "processes": jax.process_count(),
    }


def cores() -> int:
    """Returns the number of cores that this process may use; on macOS, all of the machine."""
    some = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if some else os.cpu_count() or 1


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
