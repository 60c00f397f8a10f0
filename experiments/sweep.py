"""Runs a study: arms × densities × seeds, one record a run.

    gpnas sweep --config=experiments/studies/fashion/config.py
    gpnas sweep --config=experiments/studies/fashion/config.py --config.seeds="(0,)"

Records are appended to results/STUDY/records.jsonl as they come. What is there already is skipped,
and a run that was cut off goes on from its last checkpoint: start the same command again.

What ends a study early is told in one line. Exit code 2 is a mistake in what was asked for; 3 a
loss that was not finite, in runs that the line names; 74 a disk that is full; 75 an interruption by
SIGTERM or Ctrl-C, also if it came in a run's last steps: 0 means that all runs are there.
"""

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from gpnas.commandline import check_kind, no_arguments, start
from gpnas.train import run_study

_CONFIG = config_flags.DEFINE_config_file("config", None, "The study.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", "runs", "Folder for the runs' own folders.")
_RESULTS = flags.DEFINE_string("results", "results", "Folder for the studies' records.")
flags.mark_flags_as_required(["config"])


def main(argv: Sequence[str]) -> None:
    """Runs what is missing of the study."""
    no_arguments(argv)
    check_kind(_CONFIG.value, "sweep")
    print(run_study(_CONFIG.value, str(_WORKDIR.value), str(_RESULTS.value)))


if __name__ == "__main__":
    start(main)
