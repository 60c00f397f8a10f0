"""A server that has imported what is slow to import, and forks a process for each request.

Each process is as one of `python ARGUMENTS`: it ends alone, with its own flags, signals and files;
but it starts in a tenth of a second. JAX has no backend before the fork,
and then JAX_NUM_CPU_DEVICES devices.

    python tests/_forked.py SOCKET
"""

import atexit
import gc
import json
import os
import runpy
import socket
import sys
import threading
import traceback
import warnings

import jax
import matplotlib.figure  # noqa: F401
import tensorboardX  # noqa: F401

import gpnas.commandline
import gpnas.deploy.export
import gpnas.report
import gpnas.search.build
import gpnas.search.comparison
import gpnas.search.sweep
import gpnas.train  # noqa: F401


def fork() -> int:
    """JAX warns of forks in a process that has a backend, and in one that has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return os.fork()


def next_request(server: socket.socket) -> dict:
    """Returns in the process that is to do what was asked for; its parent answers with its end."""
    running: set[int] = set()
    while True:
        connection, _ = server.accept()
        running -= {child for child in running if os.waitpid(child, os.WNOHANG)[0]}
        answering = fork()
        if not answering:
            break
        running.add(answering)
        connection.close()
    request = json.loads(connection.makefile().readline())
    child = fork()
    if child:
        _, status = os.waitpid(child, 0)
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    connection.close()
    server.close()
    return request


def prepare(request: dict) -> None:
    """Files, folder, environment and path of a new interpreter."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        with open(request[name], "wb") as file:
            os.dup2(file.fileno(), number)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [path for path in paths if path]
    sys.argv[:] = request["arguments"]
    jax.config.update("jax_num_cpu_devices", int(os.environ["JAX_NUM_CPU_DEVICES"]))


def run() -> None:
    """As `python` does with what is in `sys.argv`."""
    safe = sys.argv[0] == "-P"
    del sys.argv[:safe]
    kind = sys.argv.pop(0) if sys.argv[0] in ("-c", "-m") else ""
    if not safe:
        sys.path.insert(0, "" if kind else os.path.dirname(os.path.abspath(sys.argv[0])))
    if kind == "-m":
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        code, sys.argv[0] = sys.argv[0], kind
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


def finish() -> None:
    """Ends as an interpreter does, but frees nothing: that would copy what the fork shares."""
    code = 0
    try:
        run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code == 1 and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Serves until it is killed."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(sys.argv[1])
    server.listen()
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    del sys.path[0]
    prepare(next_request(server))
    finish()


if __name__ == "__main__":
    main()
