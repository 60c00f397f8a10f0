"""Communication between the processes of a run; a single process sends nothing."""

import contextlib
import errno
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

import gpnas
from gpnas.errors import GaveUp, UserError

_T = TypeVar("_T")


class _Verbatim(str):
    """A value of another process, whose `repr` is shown verbatim."""

    __repr__ = str.__str__


def is_first() -> bool:
    """Returns whether this process writes files."""
    return jax.process_index() == 0


def from_first(call: Callable[[], _T]) -> _T:
    """Calls a function in process 0 only; all processes return its value or raise its error.

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
    received = json.loads(_broadcast(json.dumps([value, _described(raised)]).encode()))
    if raised is not None:
        raise raised
    _raise(received[1])
    return value if is_first() else received[0]


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Raises a mistake in one process's block in all processes.

    Raises:
      UserError: The process's own error, or else that of another process.
    """
    own: UserError | None = None
    try:
        yield
    except UserError as error:
        own = error
    if jax.process_count() > 1:
        received = _gather(json.dumps(_described(own)).encode())
    if own is not None:
        raise own
    if jax.process_count() > 1:
        for found in map(json.loads, received):
            _raise(found)


def any_of(flag: bool) -> bool:
    """Returns whether the flag is set in any process; waits for all of them."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.uint8(flag)).any())


def check_same(known: Mapping[str, Any]) -> None:
    """Checks, by SHA-256 digests, that all processes have the same data.

    Args:
      known: JSON data by name.

    Raises:
      UserError: In all processes, for the first name whose data differ from those of process 0 in
        any process.
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
    """Returns the arrays of process 0; supports typed random keys."""
    if jax.process_count() == 1:
        return tree
    return from_numpy(multihost_utils.broadcast_one_to_all(to_numpy(tree)), tree)


def to_numpy(tree: Any) -> Any:
    """Converts arrays to NumPy arrays, and typed random keys to their data."""
    return jax.tree.map(lambda x: np.asarray(jax.random.key_data(x) if _is_key(x) else x), tree)


def from_numpy(tree: Any, like: Any) -> Any:
    """Converts the result of `to_numpy(like)`, or equal shapes, back to the types of `like`."""

    def one(x: Any, like: Any) -> Any:
        if isinstance(like, np.ndarray):
            return x
        data = jax.numpy.asarray(x)
        if _is_key(like):
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(like))
        return data

    return jax.tree.map(one, tree, like)


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def _described(error: Exception | None) -> list[Any] | None:
    if isinstance(error, UserError):
        return ["UserError", error.field, repr(error.got), error.allowed]
    if isinstance(error, OSError):
        return ["OSError", error.errno or errno.EIO, error.strerror, error.filename]
    return None if error is None else ["GaveUp", str(error)]


def _raise(received: list[Any] | None) -> None:
    """Raises the error of another process."""
    if received is None:
        return
    kind, *parts = received
    if kind == "UserError":
        raise UserError(parts[0], _Verbatim(parts[1]), parts[2])
    raise OSError(*parts) if kind == "OSError" else GaveUp(parts[0])


def _broadcast(content: bytes) -> bytes:
    """Returns the content that process 0 passes."""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    own = content if is_first() else b""
    return multihost_utils.broadcast_one_to_all(_padded(own, size)).tobytes()[:size]


def _gather(content: bytes) -> list[bytes]:
    """Returns the content that each process passes, by process index."""
    sizes = multihost_utils.process_allgather(np.int32(len(content)))
    found = multihost_utils.process_allgather(_padded(content, int(sizes.max())))
    return [row.tobytes()[:size] for row, size in zip(found, sizes, strict=True)]


def _padded(content: bytes, size: int) -> np.ndarray:
    """Pads with zeros to a power of two, so that few programs are compiled."""
    room = 2 ** math.ceil(math.log2(max(size, 64)))
    return np.frombuffer(content.ljust(room, b"\0"), np.uint8)
