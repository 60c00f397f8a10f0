"""Several processes, one a host, that train one network.

Every process runs the same program on the same config, and holds the whole state. Process 0 decides
what depends on a clock, on files or on an evaluation, and tells the others; it alone reads and
writes the run's folder. With one process, nothing here does anything.
"""

import contextlib
import errno
import hashlib
import json
import math
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import gpnas
from gpnas.errors import GaveUp, UserError

_T = TypeVar("_T")
AXIS = "data"  # of the mesh
START_SECONDS = 300  # in which all processes must have come
LOST_SECONDS = 30  # without a heartbeat, after which a process counts as lost
_SHUTDOWN_SECONDS = 30  # in which the others must have come to the end, too


class _Verbatim(str):
    """The `repr` of a value of another process, shown as it is."""

    __repr__ = str.__str__


def initialize(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    lost_seconds: int = LOST_SECONDS,
) -> None:
    """Joins the other processes of the run; to be called before anything else of JAX.

    Args:
      coordinator: "host:port" of process 0, which the others can reach; None: by the cluster's
        environment (TPU pod, Slurm, Open MPI), as are the other two.
      processes: Number of processes.
      process: Number of this one, from 0.
      lost_seconds: Without a sign of life, after which a process counts as lost.

    Raises:
      UserError: If the arguments contradict each other, the environment says nothing, process 0
        cannot listen on its port, or hosts have different numbers of devices.
    """
    _check_arguments(coordinator, processes, process)
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=START_SECONDS,
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
        return f"not all processes came within {START_SECONDS} s"
    silent = re.search(r"stopped sending heartbeats\):\s*([\d\s,]*\d)", said)
    who = f"process {', '.join(silent[1].split())}" if silent else "another process"
    if "Failed to send RPC" in said:
        who = "process 0"
    return f"{who} was lost; the same command in all processes, with --config.resume=True, goes on"


def wait_for_abort(error: Exception, lost_seconds: int) -> None:
    """After a failed exchange: JAX's coordination service aborts as soon as it knows who is lost.

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


def from_first(call: Callable[[], _T]) -> _T:
    """What `call` returns in process 0, which alone calls it; what it raises, all raise.

    Args:
      call: Returns JSON data; may raise `UserError`, `GaveUp` and `OSError`.
    """
    if jax.process_count() == 1:
        return call()
    raised: Exception | None = None
    value: Any = None
    if is_first():
        try:
            value = call()
        except (UserError, GaveUp, OSError) as error:
            raised = error
    told = json.loads(_broadcast(json.dumps([value, _described(raised)]).encode()))
    if raised is not None:
        raise raised
    _raise(told[1])
    return value if is_first() else told[0]


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A mistake that one process finds in its block, all raise.

    Raises:
      UserError: Its own, or else that of another process.
    """
    own: UserError | None = None
    try:
        yield
    except UserError as error:
        own = error
    if jax.process_count() > 1:
        told = _gather(json.dumps(_described(own)).encode())
    if own is not None:
        raise own
    if jax.process_count() > 1:
        for found in map(json.loads, told):
            _raise(found)


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process; waits for all of them."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.uint8(flag)).any())


def check_same(known: Mapping[str, Any]) -> None:
    """Makes sure that all processes know the same: SHA-256 of it are compared.

    Args:
      known: JSON data by name.

    Raises:
      UserError: In all processes, for the first name with other data somewhere than in process 0.
    """
    if jax.process_count() == 1:
        return
    versions = {"versions.gpnas": gpnas.__version__, "versions.jax": jax.__version__}
    text = json.dumps({**known, **versions}, sort_keys=True).encode()
    if len(set(_gather(hashlib.sha256(text).hexdigest().encode()))) == 1:
        return
    first, *others = map(json.loads, _gather(text))
    for i, other in enumerate(others, 1):
        for name in sorted({**first, **other}):
            if first.get(name) != other.get(name):
                got = _Verbatim(f"{first.get(name)!r} in process 0, {other.get(name)!r} in {i}")
                raise UserError(name, got, "the same in all processes")


def arrays_of_first(tree: Any) -> Any:
    """A pytree of arrays as process 0 has it; typed random keys may be among them."""
    if jax.process_count() == 1:
        return tree
    return from_numpy(multihost_utils.broadcast_one_to_all(to_numpy(tree)), tree)


def to_numpy(tree: Any) -> Any:
    """A pytree of arrays as NumPy has them; typed random keys become their data."""
    return jax.tree.map(lambda x: np.asarray(jax.random.key_data(x) if _is_key(x) else x), tree)


def from_numpy(tree: Any, like: Any) -> Any:
    """Arrays of JAX from `to_numpy(like)`, or from other values of its shapes."""

    def one(x: Any, like: Any) -> jax.Array:
        data = jax.numpy.asarray(x)
        if _is_key(like):
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(like))
        return data

    return jax.tree.map(one, tree, like)


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def mesh() -> Mesh:
    """All devices of all processes, over which a batch is spread."""
    return Mesh(np.array(jax.devices()), (AXIS,), axis_types=(AxisType.Auto,))


def put(tree: Any) -> Any:
    """Copies a pytree, which each process holds, to all devices; nothing is sent.

    Args:
      tree: Of arrays; typed random keys may be among them.
    """
    everywhere = NamedSharding(mesh(), PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, everywhere)
    here = NamedSharding(everywhere.mesh.local_mesh, PartitionSpec())

    def one(x: Any) -> jax.Array:
        parts = [shard.data for shard in jax.device_put(x, here).addressable_shards]
        return jax.make_array_from_single_device_arrays(np.shape(x), everywhere, parts)

    return jax.tree.map(one, tree)


def own_columns(batch_size: int) -> np.ndarray:
    """Positions in a batch, spread evenly over all devices, of the examples of this process."""
    owners = np.array([device.process_index for device in jax.devices()])
    return np.flatnonzero(np.repeat(owners == jax.process_index(), batch_size // len(owners)))


def on_first_device(tree: Any) -> Any:
    """A pytree that all devices hold, as this process' first one does; nothing is copied."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def _described(error: Exception | None) -> list[Any] | None:
    if isinstance(error, UserError):
        return ["UserError", error.field, repr(error.got), error.allowed]
    if isinstance(error, OSError):
        return ["OSError", error.errno or errno.EIO, error.strerror, error.filename]
    return None if error is None else ["GaveUp", str(error)]


def _raise(told: list[Any] | None) -> None:
    """Raises what another process has raised."""
    if told is None:
        return
    kind, *parts = told
    if kind == "UserError":
        raise UserError(parts[0], _Verbatim(parts[1]), parts[2])
    raise OSError(*parts) if kind == "OSError" else GaveUp(parts[0])


def _broadcast(content: bytes) -> bytes:
    """What process 0 has given."""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    own = content if is_first() else b""
    return multihost_utils.broadcast_one_to_all(_padded(own, size)).tobytes()[:size]


def _gather(content: bytes) -> list[bytes]:
    """What each process has given, by its number."""
    sizes = multihost_utils.process_allgather(np.int32(len(content)))
    found = multihost_utils.process_allgather(_padded(content, int(sizes.max())))
    return [row.tobytes()[:size] for row, size in zip(found, sizes, strict=True)]


def _padded(content: bytes, size: int) -> np.ndarray:
    """With zeros, to a power of two, so that few programs are compiled."""
    room = 2 ** math.ceil(math.log2(max(size, 64)))
    return np.frombuffer(content.ljust(room, b"\0"), np.uint8)
