"""Requests to end: what a signal asks for is done at the next point where nothing is lost."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Stopped(RuntimeError):
    """A signal asked the program to end; the run can be resumed."""


@contextlib.contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether SIGTERM or SIGINT has come; a second one acts at once."""
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
