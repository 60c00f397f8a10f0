"""Trains supernets and single networks, and tells what sharing weights is worth.

    python experiments/sharing.py --config=configs/searches/sharing.py

Records are appended to results/STUDY/records.jsonl as they come, one a unit of work; what is there
is not done again. `python experiments/report.py --inputs=results/STUDY` shows them.
"""

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from gpnas import report
from gpnas.commandline import check_kind, no_arguments, start
from gpnas.search.sharing_study import share

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to do.", lock_config=True)
_RESULTS = flags.DEFINE_string("results", "results", "Folder for the study's records.")
flags.mark_flags_as_required(["config"])


def main(argv: Sequence[str]) -> None:
    """Does what is missing and prints the tables."""
    no_arguments(argv)
    check_kind(_CONFIG.value, "sharing")
    path = share(_CONFIG.value, str(_RESULTS.value))
    print(report.text_table(report.read_runs([path])))
    print(path)


if __name__ == "__main__":
    start(main)
