"""Runs a study: arms × densities × seeds, one record a run, on one machine or many.

    gpnas sweep --config=experiments/studies/fashion/config.py
    gpnas sweep --config=experiments/studies/fashion/config.py --config.seeds="(0,)"
    gpnas sweep --config=… --storage=postgresql+psycopg://me@host/database
    gpnas sweep --storage=postgresql+psycopg://me@host/database

Records are appended to results/STUDY/records.jsonl as they come. What is there already is skipped,
and a run that was interrupted resumes from its last checkpoint: start the same command again.

With `--storage` the runs are a queue in a database that workers share. The third command fills it
and works; the fourth, without a config, is a worker that helps, on any machine that sees the
folders `--workdir` and `--results`. The run of a worker that died is taken up by another.

What ends a study early is reported in one line. Exit code 2 is a mistake in what was asked for; 3 a
loss that was not finite, in runs that the line names, or a run that killed three workers; 74 a disk
that is full; 75 an interruption by SIGTERM or Ctrl-C, also if it came in a run's last steps: 0
means that all runs are there.
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
    workdir = str(_WORKDIR.value)
    print(run_study(config, workdir, results) if storage is None else _share(config, workdir))


def _share(config: ConfigDict | None, workdir: str) -> pathlib.Path:
    """Works on a queue in a database; imports what only the extra `search` has."""
    import optuna

    from gpnas.search import sweep

    storage, results, begun = str(_STORAGE.value), str(_RESULTS.value), config is not None
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a failure of a run is reported at the end
    kept = sweep.begin(storage, config, results) if begun else sweep.join(storage, _NAME.value)
    sweep.take_runs(kept, workdir, results)
    return records_path(results, kept.study_name)


if __name__ == "__main__":
    start(main)
