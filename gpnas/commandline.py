"""Common parts of the command lines: errors end a program with one line and an exit code.

Exit codes: 2 for an invalid request; 3 if work was given up (a loss that is not finite, too many
failed trials); 74 (EX_IOERR) for a full or failing disk, or a file that cannot be written; 75
(EX_TEMPFAIL) for an interruption by SIGTERM or SIGINT; the message names what resumes the work.
"""

import ast
import contextlib
import errno
import functools
import itertools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from logging import Formatter
from typing import Any, NoReturn

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags

from gpnas import _overrides as overrides
from gpnas._aborts import one_line_on_abort
from gpnas._files import NO_SPACE, cache_home
from gpnas._shipped import find_config
from gpnas._stop import Stopped, interruptible, stop_signal
from gpnas.errors import GaveUp, UserError, brief, one_of, user_line

__all__ = [
    "EXIT_DIVERGED", "EXIT_IO", "EXIT_STOPPED", "EXIT_USER", "check_kind", "check_unused",
    "interruptible", "no_arguments", "one_line_on_abort", "one_line_on_error", "parse", "start",
    "stop", "stop_signal",
]  # fmt: skip
#: Exit code of an invalid request.
EXIT_USER = 2
#: Exit code of `GaveUp`: a loss or metric that is not finite, or too many failed trials.
EXIT_DIVERGED = 3
#: Exit code of a full or failing disk (EX_IOERR).
EXIT_IO = 74
#: Exit code of an interruption by SIGTERM or SIGINT (EX_TEMPFAIL).
EXIT_STOPPED = 75
_FLAGS_ONLY = "flags only, each as --name=value"
_HELP = {"--help", "-help", "--helpshort", "--helpfull", "--helpxml", "-h"}
_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)
_DENIED = (*_ACCESS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST)

# Commands, and the fields that identify their configs. A front's config also has a run's fields;
# `search` also accepts comparisons.
_KINDS = (
    ("front", ("front", "front_by", "branch_epochs", "method", "model", "optimizer")),
    ("train", ("method", "model", "optimizer")),
    ("sweep", ("arms", "seeds", "densities")),
    ("search", ("space", "objectives", "strategy", "evaluations")),
    ("search", ("arms", "seeds", "space", "objectives")),
)

_PARSERS = overrides.PARSERS | {ConfigDict: lambda text: dict(ast.literal_eval(text))}
_FORMS: dict[type, str] = {ConfigDict: "a dict in Python's notation, such as {'name': 'value'}"}


def start(
    main: Callable[[Sequence[str]], Any],
    on_mistake: Callable[[Sequence[str], UserError], None] | None = None,
    after_stop: str = "",
) -> None:
    """Parses the flags and runs `main(arguments)`.

    It does not return: it ends the process with one of the exit codes above. It changes the
    process: modules of the current folder can be imported (by configs and as `module:function`),
    SIGTERM acts as SIGINT, and compiled programs are cached on disk unless
    JAX_COMPILATION_CACHE_DIR is set.

    Args:
      main: Receives the remaining arguments, the program's name first. It may raise `UserError`,
        `GaveUp`, `Stopped`, and `OSError` if a file cannot be written.
      on_mistake: `(arguments, error) → None`, called before a mistake in the flags ends the
        program, for example to end other processes, too.
      after_stop: What resumes the work after an interruption, for the message; "" if nothing does.
    """

    def guarded(argv: Sequence[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # Orbax logs forty lines per checkpoint
            logging.get_absl_handler().setFormatter(Formatter("%(levelname)s: %(message)s"))
        with one_line_on_error(after_stop):
            main(argv)
            sys.stdout.flush()

    def parse_flags(argv: Sequence[str]) -> list[str]:
        left: list[str] = []
        with one_line_on_error():
            try:
                left = parse(argv)
            except UserError as error:
                if on_mistake is not None:
                    on_mistake(argv, error)
                raise
            except SystemExit as error:
                asked = _HELP.intersection(argv) and error.code == 1
                raise SystemExit(0 if asked else error.code) from None  # Abseil's help ends with 1
        return left

    _keep_compiled()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: cleans up
    sys.unraisablehook = _unraisable
    sys.path.append(os.getcwd())
    app.run(guarded, flags_parser=parse_flags)


@contextlib.contextmanager
def one_line_on_error(after_stop: str = "") -> Iterator[None]:
    """Ends the process with one line and an exit code at an error in the block.

    Args:
      after_stop: As for `start`.
    """
    try:
        yield
    except UserError as error:
        stop(error, EXIT_USER)
    except GaveUp as error:
        stop(error, EXIT_DIVERGED)
    except (KeyboardInterrupt, Stopped) as error:
        stop("; ".join(filter(None, (str(error) or "interrupted", after_stop))), EXIT_STOPPED)
    except BrokenPipeError:  # the reader closed the output
        os._exit(128 + signal.SIGPIPE)
    except OSError as error:
        print(_unwritten(error), file=sys.stderr, flush=True)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        # Threads of Orbax and TensorBoard would report the same failure again at exit.
        os._exit(EXIT_IO)


def _keep_compiled() -> None:
    """Caches compiled programs on disk, since compilation dominates the time of short runs."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_home() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _unraisable(raised: Any) -> None:
    """Prints errors of threads, except TensorStore's at a failed save."""
    if str(raised.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(raised)


def stop(reason: object, code: int) -> NoReturn:
    """Prints the reason as one line on stderr and ends the program."""
    print(" ".join(str(reason).split()), file=sys.stderr)
    sys.exit(code)


def _unwritten(error: OSError) -> str:
    """Returns which file could not be written and what to do.

    Raises:
      OSError: The error itself, if it has another cause.
    """
    if error.errno in NO_SPACE:
        todo = (
            "what was saved before is whole: free space and start again"
            " (a run with --config.resume=True)"
        )
    elif error.errno in _DENIED:
        todo = "a path that can be written is needed"
    else:
        raise error
    return f"{error.filename or 'a file'}: {error.strerror}; {todo}"


def check_kind(config: Mapping[str, Any] | ConfigDict, command: str) -> None:
    """Checks that a config is one for this command.

    Args:
      config: Any config.
      command: "train", "front", "sweep" or "search".

    Raises:
      UserError: If it is not; the message names the matching command, if any.
    """
    lacking = {kind: [field for field in kind[1] if field not in config] for kind in _KINDS}
    missing = min((lacking[kind] for kind in _KINDS if kind[0] == command), key=len)
    other = next((kind for kind, fields in lacking.items() if not fields), None)
    if missing or (other and other[0] != command):
        hint = f"; the command {other[0]} takes this one" if other else ""
        more = set(other[1] if other else ()) - set().union(*(f for c, f in _KINDS if c == command))
        got = f"without {', '.join(missing)}" if missing else f"with {', '.join(sorted(more))}"
        raise UserError("config", f"a config {got}", f"a config for the command {command}{hint}")


def no_arguments(argv: Sequence[str]) -> None:
    """Checks that only flags were given.

    Raises:
      UserError: If there are other arguments.
    """
    if argv[1:]:
        raise UserError("command line", argv[1], _FLAGS_ONLY)


def check_unused(holders: Sequence[flags.FlagHolder], allowed: str) -> None:
    """Checks that flags without an effect have their default values.

    Args:
      holders: The flags.
      allowed: Where they may be given, for the message.

    Raises:
      UserError: If one has another value.
    """
    for holder in holders:
        if holder.value != holder.default:
            raise UserError(holder.name, holder.value, allowed)


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags of a command line: configs and overrides of their fields.

    Fields of the chosen network, task, method and optimizer can be set even if the config does not
    list them.

    Args:
      argv: The command line, the program's name first.

    Returns:
      The arguments that are not flags, the program's name first.

    Raises:
      UserError: For an unknown flag or an invalid value. An empty value is invalid, since an empty
        path would mean the current folder.
    """
    with _completing(tuple(argv)):
        try:
            left = flags.FLAGS(argv)
            for flag in _config_flags():
                if flag.value is not None:
                    flag.value.lock()  # ml_collections detects a missing file at first access
        except Exception as error:  # a config file may raise anything
            for flag in _config_flags():
                _check_config(flag, argv)
            _check_required(error, argv)
            allowed = f"flags as --helpfull lists them ({_last_line(error)})"
            raise UserError("command line", " ".join(argv[1:]), allowed) from error
    for name in flags.FLAGS:
        _check_not_empty(flags.FLAGS[name])
    if "" in left:
        raise UserError("command line", "", "arguments that are not empty")
    return left


@contextlib.contextmanager
def _completing(argv: Sequence[str]) -> Iterator[None]:
    """Adds the fields set by a command line to configs that are parsed in this context."""
    parsers = {flag.name: (flag.parser, flag.parser.parse) for flag in _config_flags()}
    for name, (parser, parse) in parsers.items():
        parser.parse = functools.partial(_load, parse, name, argv)
    try:
        yield
    finally:
        for parser, parse in parsers.values():
            parser.parse = parse


def _check_required(error: Exception, argv: Sequence[str]) -> None:
    """Raises `UserError` if parsing failed for lack of a flag, or of the config of a field."""
    for before, one in itertools.pairwise(argv):
        if one[:1] != "-" and (before[:1] != "-" or "=" in before):  # no flag, nor a flag's value
            raise UserError("command line", one, _FLAGS_ONLY) from error
    if isinstance(error, flags.UnrecognizedFlagError):
        field = error.flagname
        name = field.partition(".")[0]
        if name != field and any(flag.name == name for flag in _config_flags()):
            raise UserError(name, None, f"a config; {field} is a field of it") from error
    for name in flags.FLAGS if isinstance(error, flags.IllegalFlagValueError) else ():
        if f"--{name} must have a value other than None" in str(error):
            text = flags.FLAGS[name].help.strip().rstrip(".")
            raise UserError(name, None, text[:1].lower() + text[1:]) from error


def _check_not_empty(flag: Any) -> None:
    empty = flag.value == "" or (isinstance(flag.value, list) and "" in flag.value)
    if flag.present and empty and flag.value != flag.default:
        raise UserError(flag.name, "", "a value that is not empty")


def _load(parse: Callable[[str], Any], name: str, argv: Sequence[str], path: str) -> Any:
    config = parse(find_config(path))
    if not isinstance(config, ConfigDict):
        return config
    return overrides.complete(config, overrides.given(argv, name), name)


def _config_flags() -> Iterator[Any]:
    found = [flags.FLAGS[name] for name in list(flags.FLAGS)]
    return (flag for flag in found if config_flags.is_config_flag(flag))


def _check_config(flag: Any, argv: Sequence[str]) -> None:
    """Raises `UserError` for an invalid config file or the first invalid override."""
    given = [argument.lstrip("-").partition("=") for argument in argv if argument[:1] == "-"]
    path = next((value for name, _, value in given[::-1] if name == flag.name), flag.default)
    if not path:
        return
    try:
        config = flag.parser.parse(find_config(path))
    except UserError:
        raise
    except Exception as error:
        raise UserError(flag.name, path, f"a config file ({_last_line(error)})") from error
    if not isinstance(config, ConfigDict):
        raise UserError(flag.name, path, "a Python file whose get_config() returns a ConfigDict")
    for name, equals, value in given:
        if name.startswith(f"{flag.name}."):
            more = overrides.given(argv, flag.name)
            _check_override(config, name, value if equals else None, more)


def _check_override(
    config: ConfigDict, name: str, value: str | None, given: Mapping[str, str | None]
) -> None:
    holder: Any = config
    section = name.partition(".")[2].rpartition(".")[0]
    for part in name.split(".")[1:]:
        if not isinstance(holder, ConfigDict):
            raise UserError(name, value, "an existing field")
        if part not in holder:
            fields = dict.fromkeys([*holder, *overrides.allowed(config, given, section)])
            raise UserError(name, value, f"one of the fields {one_of(part, fields) or '(none)'}")
        holder = holder[part]
    try:
        if value is not None and type(holder) in _PARSERS:
            _PARSERS[type(holder)](value)
    except (SyntaxError, TypeError, ValueError) as error:
        kind = _FORMS.get(type(holder), f"a value of type {type(holder).__name__}")
        raise UserError(name, value, kind) from error


def _last_line(error: BaseException) -> str:
    """Returns an error's message without the traceback that ml_collections includes."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    lines = text.strip().splitlines() or [""]
    if "Traceback (most recent call last):" in text:
        return lines[-1] + user_line(re.findall(r'File "([^"]+)", line (\d+)', text))
    return lines[0] if isinstance(error, flags.Error) else brief(error)
