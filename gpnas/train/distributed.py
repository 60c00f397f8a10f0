"""Training of one network by several processes, one per host.

Every process runs the same program with the same config. Process 0 makes the decisions that depend
on a clock, on files or on an evaluation, and broadcasts them (`_processes`). Only process 0 reads
and writes the run's folder.
"""

import re
import socket
import threading
import time
from collections.abc import Callable

import jax
from absl import logging

from gpnas.errors import UserError, explained
from gpnas.train._deterministic import set_deterministic
from gpnas.train._processes import is_first, together

__all__ = [
    "LOST_SECONDS", "explain_abort", "initialize", "is_first", "together", "wait_for_abort",
]  # fmt: skip

_START_SECONDS = 300  # within which all processes must join
_SILENT_SECONDS = 10  # of waiting for them, before a warning
#: Seconds without a heartbeat after which a process counts as lost.
LOST_SECONDS = 30
_SHUTDOWN_SECONDS = 30  # within which the other processes must finish, too


def initialize(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    lost_seconds: int = LOST_SECONDS,
    deterministic: bool = False,
) -> None:
    """Joins the other processes of the run. Call it before any other JAX function.

    Args:
      coordinator: "host:port" of process 0, reachable by the others; None: from the cluster's
        environment (TPU pod, Slurm, Open MPI), as the next two.
      processes: Number of processes.
      process: Index of this process, from 0.
      lost_seconds: Seconds without a heartbeat after which a process counts as lost.
      deterministic: `train.deterministic`, which must be set before JAX starts.

    Raises:
      UserError: If the arguments are inconsistent, the environment describes no cluster, process 0
        cannot listen on its port, or hosts have different numbers of devices.
      KeyboardInterrupt: If a signal interrupts the wait for the others.
    """
    _check_arguments(coordinator, processes, process)
    set_deterministic(deterministic)
    allowed = "--coordinator, --processes and --process, on this machine"
    with explained("distributed", coordinator, allowed, ValueError):  # JAX detects no cluster
        _interruptible(
            lambda: jax.distributed.initialize(
                coordinator,
                processes,
                process,
                initialization_timeout=_START_SECONDS,
                heartbeat_timeout_seconds=lost_seconds,
                shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
            )
        )
    if not is_first():
        logging.set_verbosity(logging.ERROR)  # process 0 logs for the run
    owners = [device.process_index for device in jax.devices()]
    counts = [owners.count(i) for i in range(jax.process_count())]
    if len(set(counts)) > 1:
        allowed = "the same number of devices in each process"
        raise UserError("devices", ", ".join(map(str, counts)), allowed)


def explain_abort(said: str) -> str | None:
    """Returns why JAX's coordination service has ended the process, in one line; else None.

    Args:
      said: Output of the process.
    """
    if "JAX distributed service detected fatal errors" not in said:
        return None
    if "RegisterTask" in said:
        return f"not all processes joined within {_START_SECONDS} s"
    silent = re.search(r"stopped sending heartbeats\):\s*([\d\s,]*\d)", said)
    who = f"process {', '.join(silent[1].split())}" if silent else "another process"
    if "Failed to send RPC" in said:
        who = "process 0"
    return f"{who} was lost; the same command in all processes, with --config.resume=True, resumes"


def wait_for_abort(error: Exception, lost_seconds: int) -> None:
    """Waits after a failed collective until JAX aborts, if a process was lost.

    Args:
      error: Error of JAX; there is no wait if it is not an error of communication.
      lost_seconds: As for `initialize`.
    """
    if jax.process_count() > 1 and re.search("gloo|nccl|connection|peer", str(error), re.I):
        time.sleep(2 * lost_seconds)


def _interruptible(wait: Callable[[], None]) -> None:
    """Calls a function in a thread, so that the main thread can run signal handlers meanwhile."""
    raised: list[BaseException] = []

    def call() -> None:
        try:
            wait()
        except BaseException as error:  # raised in the main thread
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(_SILENT_SECONDS)
    if thread.is_alive():
        logging.warning("waiting for the other processes")
    thread.join()
    if raised:
        raise raised[0]


def _check_arguments(coordinator: str | None, processes: int | None, process: int | None) -> None:
    if coordinator is None and processes is None and process is None:
        return
    host, _, port = (coordinator or "").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError("coordinator", coordinator, "host:port of process 0")
    if processes is None or processes < 1:
        raise UserError("processes", processes, "the number of processes, with --coordinator")
    if process is None or not 0 <= process < processes:
        raise UserError("process", process, f"0 to {processes - 1}, different in each process")
    if process == 0:  # JAX may crash if it cannot listen
        allowed = "a port that process 0 can listen on"
        with socket.socket() as probe, explained("coordinator", coordinator, allowed, OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", int(port)))
