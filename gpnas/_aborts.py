"""One-line reports of aborts in C++ libraries."""

import ctypes
import faulthandler
import os
import signal
import sys
import tempfile
from collections.abc import Callable

from absl import logging

_MOST = 2**16  # bytes of earlier output of a library


def one_line_on_abort(explain: Callable[[str], str | None], code: int) -> None:
    """Reports an abort that can be explained by one line on stderr and an exit code.

    JAX ends a process that has lost the others by `abort`, after a long message and without an
    exception. So libraries in C++ write to a temporary file instead of stderr, which is shown only
    if the process aborts and `explain` returns None.

    Args:
      explain: `output → line`, or None if the output has another cause.
      code: Exit code of an explained abort.
    """
    hidden = tempfile.TemporaryFile()  # noqa: SIM115 (open to the end)
    shown = os.dup(2)
    sys.stderr = os.fdopen(shown, "w", buffering=1)
    logging.get_absl_handler().python_handler.setStream(sys.stderr)
    os.dup2(hidden.fileno(), 2)
    faulthandler.enable(sys.stderr)

    def aborted(number: int) -> None:
        size = os.fstat(hidden.fileno()).st_size
        said = os.pread(hidden.fileno(), _MOST, max(size - _MOST, 0)).decode(errors="replace")
        line = explain(said)
        os.write(shown, (said if line is None else f"{line}\n").encode())
        os._exit(128 + number if line is None else code)

    # Python's signal handlers run between bytecode instructions, so never after an abort.
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(handler))
    ctypes.CDLL(None).signal(signal.SIGABRT, handler)
