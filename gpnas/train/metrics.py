"""Where the numbers of a run go: JSON lines, TensorBoard, and a bar or plain lines for a person."""

import contextlib
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import rich.console
import rich.progress
import tensorboardX

from gpnas._files import append_line

Write = Callable[[dict[str, Any]], None]


@contextlib.contextmanager
def writer(workdir: pathlib.Path, tensorboard: bool, step: int = 0) -> Iterator[Write]:
    """Yields a function that writes one line of metrics.

    Args:
      workdir: `metrics.jsonl` and TensorBoard's event files go there.
      tensorboard: Whether to write those.
      step: Where the run goes on: TensorBoard forgets what it was told of later steps.
    """
    with contextlib.ExitStack() as stack:
        events = None
        if tensorboard:
            folder = str(workdir / "tensorboard")
            suffix = f".{time.time_ns()}"  # two files of one second would else share a name
            events = tensorboardX.SummaryWriter(folder, purge_step=step + 1, filename_suffix=suffix)
            stack.enter_context(events)

        def write(line: dict[str, Any]) -> None:
            append_line(workdir / "metrics.jsonl", line, safe=False)
            if events:
                for name, value in _scalars(line):
                    events.add_scalar(f"{line['split']}/{name}", value, line["step"])

        yield write


def _scalars(line: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in line.items():
        if name == "layers":
            for path, layer in value.items():
                yield from ((f"{key}/{path}", number) for key, number in layer.items())
        elif name not in ("step", "split"):
            yield name, value


@contextlib.contextmanager
def progress(total: int, title: str) -> Iterator[Callable[[int, str], None]]:
    """Yields `(step, text) → None`: a bar on a terminal, else a plain line for each non-empty text.

    Args:
      total: Steps of the whole run.
      title: What is running.
    """
    console = rich.console.Console(stderr=True)
    if not sys.stderr.isatty():  # Rich takes some environment variables for a terminal

        def line(step: int, text: str) -> None:
            if text:
                print(f"{title} {step}/{total} {text}", file=sys.stderr, flush=True)

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
        task = bar.add_task(title, total=total, text="")

        def move(step: int, text: str) -> None:
            if text:
                bar.update(task, text=text)
            bar.update(task, completed=step)

        yield move
