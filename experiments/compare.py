"""Compares search strategies: each on the same space, by the same seeds, one record a search.

    python experiments/compare.py --config=configs/searches/comparisons/nas_bench_201.py

Records are appended to results/STUDY/records.jsonl as they come; searches that are there are
skipped.
"""

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from gpnas.commandline import no_arguments, start
from gpnas.search.comparison import compare

_CONFIG = config_flags.DEFINE_config_file("config", None, "The comparison.", lock_config=True)
_RESULTS = flags.DEFINE_string("results", "results", "Folder for the comparisons' records.")
flags.mark_flags_as_required(["config"])


def main(argv: Sequence[str]) -> None:
    """Makes the searches that are missing."""
    no_arguments(argv)
    print(compare(_CONFIG.value, str(_RESULTS.value)))


if __name__ == "__main__":
    start(main)
