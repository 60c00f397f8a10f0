"""Trials of a study that one worker evaluates together."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import optuna

from gpnas.search._history import Trial
from gpnas.search._queue import run_one


class Place(NamedTuple):
    """A trial's place in a group.

    Attributes:
      evaluated: `trial → evaluated trial`, the first of the group with the same architecture and
        budget. It waits for the evaluation.
      first: Whether no other trial of the group waits for an evaluation.
      closed: Whether no further trials begin.
    """

    evaluated: Callable[[Trial], Trial]
    first: bool
    closed: threading.Event


def run_several(
    study: optuna.Study,
    objective: Callable[[optuna.Trial, Place], list[float]],
    evaluate: Callable[[Sequence[Trial]], Sequence[Trial]],
    most: int,
) -> None:
    """Runs several trials in threads, and evaluates their candidates in the calling thread.

    Each trial has a thread of its own, in which Optuna sends its heartbeats. Trials begin one after
    the other, so a proposal sees those before it as running trials.

    Args:
      study: The study.
      objective: `(Optuna's trial, its place) → values`.
      evaluate: `trials → evaluated trials`, of distinct candidates.
      most: Number of trials.

    Raises:
      Exception: What the objective or the evaluation raises.
    """
    events = queue.SimpleQueue[Trial | Future[None]]()
    results = Future[dict[tuple, Trial]]()
    closed = threading.Event()

    def evaluated(trial: Trial) -> Trial:
        events.put(trial)
        return results.result()[_candidate(trial)]

    def begin(first: bool) -> Future[None]:
        place = Place(evaluated, first, closed)
        job = threads.submit(run_one, study, lambda trial: objective(trial, place))
        job.add_done_callback(events.put)
        return job

    jobs, group = list[Future[None]](), dict[tuple, Trial]()
    with ThreadPoolExecutor(most) as threads:
        try:
            while len(jobs) < most and not closed.is_set():
                jobs.append(begin(not group))
                event = events.get()  # a trial that waits for its evaluation, or a job that ended
                if not isinstance(event, Future):
                    group.setdefault(_candidate(event), event)
                else:
                    event.result()  # raises what ended the job, if it failed
            ended = evaluate(list(group.values())) if group else ()
            results.set_result(dict(zip(group, ended, strict=True)))
        except BaseException as error:  # the threads must end, whatever happened
            closed.set()
            if not results.done():
                results.set_exception(error)
            raise
    for job in jobs:
        job.result()


def _candidate(trial: Trial) -> tuple:
    return trial.architecture, trial.budget
