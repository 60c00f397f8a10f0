"""Names of problems; runs on different problems are never averaged, connected or ranked.

A problem is a data set and the reported metric.
"""

from collections.abc import Iterable, Mapping

from gpnas.report import formatting
from gpnas.report._metric import TaskMetric
from gpnas.report._read import Data, Problem, Run

UNKNOWN = "unknown data"


def name_problems(runs: Iterable[Run]) -> Mapping[Problem, str]:
    """Names the problems of runs.

    A data set is identified by its name and the digest of its content. A run without a digest is
    assigned to the only version with its name, if there is one. An unfinished run without a name is
    not counted as a further data set.

    Args:
      runs: Training runs.

    Returns:
      Names by `Run.problem`: the data set, with the start of the digest if a name has several, and
      with the metric if a data set has several; `""` if there is only one problem.
    """
    runs = list(runs)
    data = _name_data(runs)
    metrics: dict[str, list[TaskMetric]] = {}
    for run in runs:
        own = metrics.setdefault(data[run.data], [])
        own += [run.metric] if run.metric not in own else []
    named: dict[Problem, str] = {}
    for run in runs:
        name = data[run.data]
        several = len(metrics[name]) > 1
        named[run.problem] = (
            f"{name} ({_distinguishing(run.metric, metrics[name])})" if several else name
        )
    return named if len({*named.values()} - {""}) > 1 else dict.fromkeys(named, "")


def _name_data(runs: Iterable[Run]) -> dict[Data, str]:
    runs = list(runs)
    digests: dict[str, set[str]] = {}
    for name, digest in (run.data for run in runs):
        digests.setdefault(name, set()).update({digest} - {""})
    named: dict[Data, str] = {}
    for run in runs:
        name, digest = run.data
        label = formatting.shorten(name, 40) or (UNKNOWN if run.finished else "")
        several = len(digests[name]) > 1
        if not named.get(run.data):
            named[run.data] = f"{label} {digest[:8] or 'unknown'}" if several else label
    return named


def _distinguishing(metric: TaskMetric, others: Iterable[TaskMetric]) -> str:
    """Returns the attributes of a metric that distinguish it from others."""
    apart = [other for other in others if other != metric]
    for text in (lambda m: m.title, lambda m: m.label):
        if all(text(metric) != text(other) for other in apart):
            return text(metric)
    return f"{metric.label}, {metric.better} is better"
