"""Compares search strategies: each on the same space, by the same seeds, one record a search.

    python experiments/compare.py --config=experiments/studies/searches_201/config.py

Records are appended to results/STUDY/records.jsonl as they come; searches that are there are
skipped. Exit code 3 is a search in which `config.failures` candidates failed in a row.
"""

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from gpnas.commandline import EXIT_DIVERGED, check_kind, no_arguments, start, stop
from gpnas.search.comparison import compare
from gpnas.search.outcome import TooManyFailures

_CONFIG = config_flags.DEFINE_config_file("config", None, "The comparison.", lock_config=True)
_RESULTS = flags.DEFINE_string("results", "results", "Folder for the comparisons' records.")
flags.mark_flags_as_required(["config"])


def main(argv: Sequence[str]) -> None:
    """Makes the searches that are missing."""
    no_arguments(argv)
    check_kind(_CONFIG.value, "compare")
    try:
        print(compare(_CONFIG.value, str(_RESULTS.value)))
    except TooManyFailures as error:
        stop(error, EXIT_DIVERGED)


if __name__ == "__main__":
    start(main)
