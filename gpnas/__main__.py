"""The command `gpnas`, also `python -m gpnas`."""

import os
import runpy
import signal
import sys

from gpnas.errors import UserError, not_installed, one_of

# By command: module of `gpnas.commands` (a link to experiments/), example, description.
COMMANDS = {
    "train": ("train", "--config=rigl --workdir=runs/rigl", "one run"),
    "front": ("front", "--config=front --workdir=runs/front", "small networks from one run"),
    "sweep": ("sweep", "--config=my_study.py", "a study; --storage=URL: a worker"),
    "search": ("search", "--config=searches/lemonade --workdir=runs/s", "architectures"),
    "worker": ("worker", "--storage=sqlite:///runs/s/search.db", "joins a search or a study"),
    "summary": ("summary", "--config=lenet5", "layers of a network, and their costs"),
    "report": ("report", "--inputs=runs --output=report.html", "a page about runs"),
    "export": ("export", "--workdir=runs/rigl --formats=onnx", "files of a network"),
    "predict": ("predict", "--workdir=runs/rigl --images=a.png", "classes of images"),
    "bench": ("benchmark", "--only=masked_step_ratio", "speed on this machine"),
}
_HELP = """\
Growing and pruning of networks in JAX. Commands, each with --help:

{commands}

--config is a file, or the name of a config that comes with gpnas; --config.FIELD=VALUE sets a field
of it. Relative paths are those of the current folder.

Configs: {configs}"""


def main() -> None:
    """Runs the command named by the first argument, as `python` runs its module."""
    name = sys.argv[1] if len(sys.argv) > 1 else "help"
    if name in ("help", "--help", "-h"):
        _print(_help())
        return
    if name not in COMMANDS:
        print(UserError("command", name, one_of(name, [*COMMANDS, "help"])), file=sys.stderr)
        sys.exit(2)
    del sys.argv[1]
    try:
        runpy.run_module(f"gpnas.commands.{COMMANDS[name][0]}", None, "__main__", True)
    except ModuleNotFoundError as error:
        print(not_installed(error), file=sys.stderr)
        sys.exit(2)


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader closed the output; flushing again at exit would fail
        os._exit(128 + signal.SIGPIPE)


def _help() -> str:
    from gpnas._shipped import config_names

    lines = (f"  gpnas {name:8}{eg:50}{what}" for name, (_, eg, what) in COMMANDS.items())
    return _HELP.format(commands="\n".join(lines), configs=", ".join(config_names()))


if __name__ == "__main__":
    main()
