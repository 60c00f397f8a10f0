"""Runs a study, one run per arm, density and seed, on one machine or many.

    gpnas sweep --config=experiments/studies/fashion/config.py
    gpnas sweep --config=experiments/studies/fashion/config.py --config.seeds="(0,)"
    gpnas sweep --config=… --storage=postgresql+psycopg://me@host/database
    gpnas worker --storage=postgresql+psycopg://me@host/database

An arm is a method with its settings. Records are appended to results/STUDY/records.jsonl as runs
finish. If the command is started again, it skips runs with a record, and resumes interrupted runs
from their last checkpoints.

With `--storage` workers share a queue of runs in a database. The third command fills the queue and
is a worker; the fourth (or `sweep` without a config) is another one, on any machine with access to
the folders `--workdir` and `--results`. If a worker dies, another one resumes its run.

Errors are reported in one line. Exit codes: 0, all runs have records; 2, an invalid argument or
config; 3, the loss of the named runs was not finite, or a run killed three workers; 74, the disk is
full; 75, interrupted by SIGTERM or Ctrl-C, even in the last steps of a run.
"""

import pathlib
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from gpnas.commandline import check_kind, no_arguments, start
from gpnas.errors import UserError
from gpnas.records import records_path
from gpnas.train import run_study

_CONFIG = config_flags.DEFINE_config_file("config", None, "The study.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", "runs", "Parent of the runs' folders.")
_RESULTS = flags.DEFINE_string("results", "results", "Folder for the studies' records.")
_STORAGE = flags.DEFINE_string("storage", None, "URL of a database, for many workers.")
_NAME = flags.DEFINE_string("name", None, "Name of the study, if the database has several.")


def main(argv: Sequence[str]) -> None:
    """Trains the missing runs of the study."""
    no_arguments(argv)
    config, storage, results = _CONFIG.value, _STORAGE.value, str(_RESULTS.value)
    if config is None and storage is None:
        raise UserError("config", None, "a study; or --storage, the database of an existing one")
    if config is not None:
        check_kind(config, "sweep")
        if _NAME.value is not None:
            raise UserError("name", _NAME.value, "config.study, where a config is given")
    workdir = str(_WORKDIR.value)
    print(run_study(config, workdir, results) if storage is None else _share(config, workdir))


def _share(config: ConfigDict | None, workdir: str) -> pathlib.Path:
    """Works on a queue in a database; imports dependencies of the extra `search`."""
    import optuna

    from gpnas.search import sweep

    storage, results = str(_STORAGE.value), str(_RESULTS.value)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # failures of runs are reported at the end
    if config is None:
        kept = sweep.join(storage, _NAME.value)
    else:
        kept = sweep.queue_runs(storage, config, workdir, results)
    sweep.take_runs(kept, workdir, results)
    return records_path(results, kept.study_name)


if __name__ == "__main__":
    start(main, after_stop="the same command resumes")
