"""Names of data sets: runs on different ones are never averaged, joined by a line or ranked."""

from collections.abc import Iterable, Mapping

from gpnas.report import formatting
from gpnas.report._read import Data, Run

UNKNOWN = "unknown data"


def name_data(runs: Iterable[Run]) -> Mapping[Data, str]:
    """Names every data set of the runs.

    A data set is known by its name and the digest of its content. A run without a digest is taken
    to be on the only version of its name, if there is one; an unfinished run without a name is on
    no data set of its own.

    Args:
      runs: Training runs.

    Returns:
      By `Run.data`: the name, with the beginning of the digest where one name has several; `""`
      for all where there is one data set.
    """
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
    return named if len({*named.values()} - {""}) > 1 else dict.fromkeys(named, "")
