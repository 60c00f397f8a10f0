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
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number: int, frame: Any) -> None:
        del frame
        came.append(number)
        signal.signal(number, usual[signal.Signals(number)])

    usual = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in usual:
        signal.signal(number, note)
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
