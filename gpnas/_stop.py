"""Graceful stops on signals, at the next point where no work is lost."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Stopped(RuntimeError):
    """Raised when a signal stopped the program; the run can be resumed."""


@contextlib.contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
    """Yields `() → whether SIGTERM or SIGINT was received`; a second signal acts immediately."""
    came: list[int] = []
    usual = _handlers()

    def note(number: int, frame: Any) -> None:
        del frame
        came.append(number)
        signal.signal(number, usual[number])

    with _handled_by(note):
        yield lambda: bool(came)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Lets SIGTERM and SIGINT raise `KeyboardInterrupt` in the block, also inside `stop_signal`."""
    with _handled_by(signal.default_int_handler):
        yield


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Handles SIGTERM and SIGINT in the block, in the main thread, which alone can do so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = _handlers()
    for number in usual:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in usual.items():
            signal.signal(number, before)


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
