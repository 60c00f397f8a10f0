"""Several processes, one a host, that train one network.

Every process runs the same program on the same config. Process 0 decides what depends on a clock,
on files or on an evaluation, and informs the others (`_processes`); it alone reads and writes the
run's folder.
"""

import re
import socket
import time

import jax
from absl import logging

from gpnas.errors import UserError
from gpnas.train._deterministic import set_deterministic

__all__ = ["LOST_SECONDS", "explain_abort", "initialize", "is_first", "wait_for_abort"]

_START_SECONDS = 300  # in which all processes must have come
#: Seconds without a heartbeat after which a process counts as lost.
LOST_SECONDS = 30
_SHUTDOWN_SECONDS = 30  # in which the others must have come to the end, too


def initialize(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    lost_seconds: int = LOST_SECONDS,
    deterministic: bool = False,
) -> None:
    """Joins the other processes of the run; to be called before anything else of JAX.

    Args:
      coordinator: "host:port" of process 0, which the others can reach; None: by the cluster's
        environment (TPU pod, Slurm, Open MPI), as are the other two.
      processes: Number of processes.
      process: Number of this one, from 0.
      lost_seconds: Seconds without a heartbeat after which a process counts as lost.
      deterministic: `train.deterministic`, which JAX takes before it starts.

    Raises:
      UserError: If the arguments contradict each other, the environment says nothing, process 0
        cannot listen on its port, or hosts have different numbers of devices.
    """
    _check_arguments(coordinator, processes, process)
    set_deterministic(deterministic)
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=_START_SECONDS,
            heartbeat_timeout_seconds=lost_seconds,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except ValueError as error:  # nothing that JAX knows is in the environment
        allowed = f"--coordinator, --processes and --process, on this machine ({error})"
        raise UserError("distributed", coordinator, allowed) from error
    if not is_first():
        logging.set_verbosity(logging.ERROR)  # what holds for the run, process 0 says
    owners = [device.process_index for device in jax.devices()]
    counts = [owners.count(i) for i in range(jax.process_count())]
    if len(set(counts)) > 1:
        allowed = "the same number of devices in each process"
        raise UserError("devices", ", ".join(map(str, counts)), allowed)


def explain_abort(said: str) -> str | None:
    """A line on why JAX's coordination service has ended the process; None if it has not.

    Args:
      said: What it printed before.
    """
    if "JAX distributed service detected fatal errors" not in said:
        return None
    if "RegisterTask" in said:
        return f"not all processes came within {_START_SECONDS} s"
    silent = re.search(r"stopped sending heartbeats\):\s*([\d\s,]*\d)", said)
    who = f"process {', '.join(silent[1].split())}" if silent else "another process"
    if "Failed to send RPC" in said:
        who = "process 0"
    return f"{who} was lost; the same command in all processes, with --config.resume=True, goes on"


def wait_for_abort(error: Exception, lost_seconds: int) -> None:
    """Waits after a failed exchange until JAX's coordination service aborts, if a process was lost.

    Args:
      error: What JAX has raised. Nothing is waited for if it does not look like one of an exchange.
      lost_seconds: As of `initialize`.
    """
    if jax.process_count() > 1 and re.search("gloo|nccl|connection|peer", str(error), re.I):
        time.sleep(2 * lost_seconds)


def _check_arguments(coordinator: str | None, processes: int | None, process: int | None) -> None:
    if coordinator is None and processes is None and process is None:
        return
    host, _, port = (coordinator or "").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError("coordinator", coordinator, "host:port of process 0")
    if processes is None or processes < 1:
        raise UserError("processes", processes, "their number, with --coordinator")
    if process is None or not 0 <= process < processes:
        raise UserError("process", process, f"0 to {processes - 1}, another in each process")
    if process == 0:  # JAX may crash where it cannot listen
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", int(port)))
            except OSError as error:
                allowed = f"a port that process 0 can listen on ({error.strerror})"
                raise UserError("coordinator", coordinator, allowed) from error


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0
