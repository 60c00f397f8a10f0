"""Damaged and malicious files, which must be refused with one line."""

import contextlib
import itertools
import json
import os
import pathlib
import pickle
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from typing import Any

from experiments.faults.fault import Fault, Options
from experiments.faults.small import get_config
from gpnas import report
from gpnas.errors import UserError
from gpnas.records import read_json
from gpnas.train import load_data, load_run, train

_SECONDS = 60  # after this time a reader counts as hanging
_SECRET = "what no page may show"
_PARTS = {
    "arrays": "checkpoints/40/**/*",
    "digests": "checkpoints/40.digest.json",
    "run files": "*.json*",
}


def finished(folder: pathlib.Path) -> tuple[pathlib.Path, Any]:
    """Returns a finished run of 40 steps, and its data set."""
    config = get_config("train")
    config.train.epochs = 2
    data = load_data(config)
    train(config, folder / "run", data)
    return folder / "run", data


def broken_checkpoint(options: Options) -> Fault:
    """Flips single bits in the arrays, digests and other files of a run."""
    rng, (run, data) = random.Random(options.seed), finished(options.folder)
    found: dict[str, list[str]] = {part: [] for part in _PARTS}
    for number, part in zip(range(options.repeats), itertools.cycle(_PARTS), strict=False):
        copy = shutil.copytree(run, options.folder / f"flipped-{number}")
        found[part].append(after_a_flip(copy, part, data, rng))
        shutil.rmtree(copy)
    counts = {part: {kind: own.count(kind) for kind in set(own)} for part, own in found.items()}
    value = sum(kind != "believed" for own in found.values() for kind in own)
    target = f"{options.repeats} of {options.repeats} flips are noticed, or change no value"
    return Fault("broken_checkpoint", value, target, value == options.repeats, counts)


def after_a_flip(run: pathlib.Path, part: str, data: Any, rng: random.Random) -> str:
    """Flips one bit of a run's files; returns "noticed", "unchanged" (all values) or "believed"."""
    paths = [path for path in sorted(run.glob(_PARTS[part])) if path.is_file()]
    path = rng.choice([path for path in paths if path.stat().st_size])
    before = None if part == "arrays" else _values(path)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))
    try:
        if path.name in ("config.json", "metrics.jsonl"):  # only a resumed run reads these
            (run / "record.json").unlink()
            shutil.rmtree(run / "checkpoints" / "20")
            (run / "checkpoints" / "20.digest.json").unlink()
            resume(run, data)
        else:
            load_run(run, "last", data)
    except UserError as error:
        return "noticed" if "\n" not in str(error) else "believed"
    return "unchanged" if before is not None and _values(path) == before else "believed"


def resume(run: pathlib.Path, data: Any) -> dict[str, Any]:
    """Resumes a run of `finished`."""
    config = get_config("train")
    config.train.epochs = 2
    return train(config, run, data)


def _values(path: pathlib.Path) -> Any:
    """Returns the content of a JSON file without the digest; for JSON lines, its bytes."""
    if path.suffix == ".jsonl":
        return path.read_bytes()
    try:
        known = read_json(path, "file", "JSON")
    except UserError:
        return None
    return [value for name, value in known.items() if not _is_digest(name, value)]


def _is_digest(name: str, value: Any) -> bool:
    return name == "digest" or (len(name) == 6 and isinstance(value, str) and len(value) == 64)


def hostile_file(options: Options) -> Fault:
    """Puts malicious files into a run's folder, and reads the folder in each way."""
    run, data = finished(options.folder)
    found = {}
    for (name, put), target in itertools.product(HOSTILE.items(), ("config.json", "record.json")):
        for reader, read in READERS.items():
            copy = shutil.copytree(run, options.folder / "hostile" / "run")
            (copy.parent / "secret").write_text(_SECRET)
            (copy / target).unlink()
            put(copy / target)
            found[f"{name} as {target}, {reader}"] = after_reading(read, copy, data)
            shutil.rmtree(copy.parent)
    value = sum(kind in ("refused", "read") for kind in found.values())
    target = f"{len(found)} of {len(found)} are refused in one line or do no harm"
    wrong = {name: kind for name, kind in found.items() if kind not in ("refused", "read")}
    return Fault("hostile_file", value, target, value == len(found), {"wrong": wrong})


def after_reading(read: Callable[..., Any], run: pathlib.Path, data: Any) -> str:
    """Reads a run's folder; returns "refused", "read", or a description of the failure."""
    others = [path for path in run.parent.iterdir() if path != run]
    before = {path: path.read_bytes() for path in others}
    try:
        with _at_most(_SECONDS):
            shown = read(run, data)
    except UserError as error:
        kind = "refused" if "\n" not in str(error) and _SECRET not in str(error) else str(error)
    except Exception as error:  # any other exception is a failure
        kind = f"{type(error).__name__}: {error}"[:200]
    else:
        kind = "read" if _SECRET not in str(shown) else "shows what a link points to"
    after = {path: path.read_bytes() for path in run.parent.iterdir() if path != run}
    return kind if after == before else "changed files outside"


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError if the block takes longer."""

    def late(number: int, frame: Any) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _read_page(run: pathlib.Path, data: Any) -> str:
    return report.render(report.read_runs([run]))


READERS: dict[str, Callable[[pathlib.Path, Any], Any]] = {
    "train": resume,
    "load_run": lambda run, data: load_run(run, "last", data),
    "report": _read_page,
}


class _Harmful:
    """An object that writes a file when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (os.system, ("touch ../unpickled",))


def _outside(path: pathlib.Path) -> None:
    """Writes a record whose checkpoints are in another folder."""
    record = {"config": get_config("train").to_dict(), "checkpoints": "../../../../etc"}
    path.write_text(json.dumps(record | {"metrics": {}, "seed": 0, "total_steps": 40}))


HOSTILE: dict[str, Callable[[pathlib.Path], Any]] = {
    "deep": lambda path: path.write_text("[" * 100_000),
    "deep object": lambda path: path.write_text('{"a":' * 50_000 + "1" + "}" * 50_000),
    "long number": lambda path: path.write_text('{"config": ' + "9" * 1_000_000 + "}"),
    "no number": lambda path: path.write_text('{"config": NaN, "wall_s": Infinity}'),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00{" * 1000),
    "pickle": lambda path: path.write_bytes(pickle.dumps(_Harmful())),
    "markup": lambda path: path.write_text('{"arm": "<script>alert(1)</script>", "config": {}}'),
    "link": lambda path: path.symlink_to(path.parent.parent / "secret"),
    "link to nothing": lambda path: path.symlink_to("/no/such/file"),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "outside": _outside,
}
