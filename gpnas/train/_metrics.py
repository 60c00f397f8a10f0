"""Metrics output: JSON lines, TensorBoard, and a progress bar or lines on the terminal."""

import contextlib
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import rich.console
import rich.progress
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import scalar

from gpnas._files import append_line, naming
from gpnas.train import distributed
from gpnas.train._goodput import REPORTED

Write = Callable[[dict[str, Any]], None]


@contextlib.contextmanager
def writer(workdir: pathlib.Path, tensorboard: bool, step: int = 0) -> Iterator[Write]:
    """Yields a function that writes one metrics line; only process 0 writes.

    Args:
      workdir: Folder of `metrics.jsonl` and TensorBoard's event files.
      tensorboard: Whether to write event files.
      step: Step to resume from; later TensorBoard events are discarded.

    Raises:
      OSError: If the disk is full or fails.
    """
    if not distributed.is_first():
        yield lambda line: None
        return
    with contextlib.ExitStack() as stack:
        events = (
            stack.enter_context(_events(workdir / "tensorboard", step)) if tensorboard else None
        )

        def write(line: dict[str, Any]) -> None:
            append_line(workdir / "metrics.jsonl", line, safe=False)
            if events:
                events(line)

        yield write


@contextlib.contextmanager
def _events(folder: pathlib.Path, step: int) -> Iterator[Write]:
    """Yields a function that writes one metrics line to a TensorBoard file.

    It does not use tensorboardX's `SummaryWriter`, whose thread dies on a full disk, after which
    further writes block forever.
    """
    with naming(folder):
        folder.mkdir(exist_ok=True)
        suffix = f".{time.time_ns()}"  # unique for files of the same second
        file = EventsWriter(str(folder / "events"), suffix)
        start = SessionLog(status=SessionLog.START)
        file.write_event(Event(step=step + 1, session_log=start, wall_time=time.time()))

    def write(line: dict[str, Any]) -> None:
        values = [one for name, value in _scalars(line) for one in scalar(name, value).value]
        event = Event(step=line["step"], wall_time=time.time(), summary=Summary(value=values))
        with naming(folder):
            file.write_event(event)
            if line["split"] == "validation":
                file.flush()

    try:
        yield write
    finally:
        with naming(folder):
            file.close()


def _scalars(line: dict[str, Any]) -> Iterator[tuple[str, float]]:
    split = line["split"]
    for name, value in line.items():
        if name == "layers":
            for path, layer in value.items():
                yield from ((f"{split}/{key}/{path}", number) for key, number in layer.items())
        elif name == "units":
            yield from ((f"{split}/units/{group}", number) for group, number in value.items())
        elif name not in ("step", "split", *REPORTED):
            yield f"{split}/{name}", value


#: `(steps, title) → context manager` that yields `show(step, text)`. A resumed run begins with a
#: later step; the text is often empty; each process of a run on several hosts calls it.
Progress = Callable[[int, str], contextlib.AbstractContextManager[Callable[[int, str], None]]]


@contextlib.contextmanager
def progress(
    steps: int, title: str, before: int = 0, after: int = 0
) -> Iterator[Callable[[int, str], None]]:
    """Yields `(step, text) → None`: a bar on a terminal, else one line per non-empty text.

    Both show the remaining time.

    Args:
      steps: Number of steps of the run.
      title: Name of the run.
      before, after: Steps of other runs, which the bar includes.
    """
    if not distributed.is_first():
        yield lambda step, text: None
        return
    total = before + steps + after
    console = rich.console.Console(stderr=True)
    if not sys.stderr.isatty():  # some environment variables make Rich assume a terminal
        begun: dict[int, float] = {}  # the first two reported steps with their times

        def line(step: int, text: str) -> None:
            now = time.monotonic()
            if len(begun) < 2:
                begun.setdefault(step, now)
            if text:
                since, at = list(begun.items())[-1]  # earlier steps include compilation
                left = time_left(step - since, now - at, total - before - step)
                shown = f"{text}, {left} left" if left else text
                print(f"{title} {before + step}/{total} {shown}", file=sys.stderr, flush=True)

        yield line
        return

    columns = (
        "[progress.description]{task.description}",
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        "{task.fields[text]}",
    )
    with rich.progress.Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, completed=before, text="")

        def move(step: int, text: str) -> None:
            if text:
                bar.update(task, text=text)
            bar.update(task, completed=before + step)

        yield move


def time_left(done: int, seconds: float, steps: int) -> str:
    """Formats the remaining time of a run, "3:10" or "1:03:10"; empty if unknown.

    Args:
      done: Number of steps done.
      seconds: Their duration.
      steps: Number of remaining steps.
    """
    if done <= 0 or steps <= 0:
        return ""
    minutes, rest = divmod(math.ceil(seconds / done * steps), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
