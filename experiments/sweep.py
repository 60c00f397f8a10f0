"""Runs a study: arms × densities × seeds, one record a run, on one machine or many.

    python experiments/sweep.py --config=experiments/studies/fashion/config.py
    python experiments/sweep.py --config=experiments/studies/fashion/config.py --config.seeds="(0,)"
    python experiments/sweep.py --config=… --storage=postgresql+psycopg://me@host/database
    python experiments/sweep.py --storage=postgresql+psycopg://me@host/database

Records are appended to results/STUDY/records.jsonl as they come. What is there already is skipped,
and a run that was cut off goes on from its last checkpoint: start the same command again.

With `--storage` the runs are a queue in a database that workers share. The third command fills it
and works; the fourth, without a config, is a worker that helps, on any machine that sees the
folders `--workdir` and `--results`. The run of a worker that died is taken up by another.

What ends a study early is told in one line. Exit code 2 is a mistake in what was asked for; 3 a
loss that was not finite, in runs that the line names, or a run that killed three workers; 74 a disk
that is full; 75 an interruption by SIGTERM or Ctrl-C, also if it came in a run's last steps: 0
means that all runs are there.
"""

from collections.abc import Sequence

import optuna
from absl import flags
from ml_collections import config_flags

from gpnas.commandline import check_kind, no_arguments, start
from gpnas.errors import UserError
from gpnas.records import records_path
from gpnas.search import sweep
from gpnas.train import run_study

_CONFIG = config_flags.DEFINE_config_file("config", None, "The study.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", "runs", "Folder for the runs' own folders.")
_RESULTS = flags.DEFINE_string("results", "results", "Folder for the studies' records.")
_STORAGE = flags.DEFINE_string("storage", None, "URL of a database, for many workers.")
_NAME = flags.DEFINE_string("name", None, "Of the study to be helped, if the database has several.")


def main(argv: Sequence[str]) -> None:
    """Runs what is missing of the study."""
    no_arguments(argv)
    config, storage, results = _CONFIG.value, _STORAGE.value, str(_RESULTS.value)
    if config is None and storage is None:
        raise UserError("config", None, "a study; or --storage, the database of one to be helped")
    if config is not None:
        check_kind(config, "sweep")
        if _NAME.value is not None:
            raise UserError("name", _NAME.value, "config.study, where a config is given")
    if storage is None:
        print(run_study(config, str(_WORKDIR.value), results))
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a failure of a run is told at the end
    begun = config is not None
    kept = sweep.begin(storage, config, results) if begun else sweep.join(storage, _NAME.value)
    sweep.take_runs(kept, str(_WORKDIR.value), results)
    print(records_path(results, kept.study_name))


if __name__ == "__main__":
    start(main)
