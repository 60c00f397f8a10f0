"""Takes part in a search or a study whose queue is in a database.

    gpnas worker --storage=sqlite:///runs/search/search.db
    gpnas worker --storage=postgresql+psycopg://me@host/database --workdir=runs --results=results

This is `gpnas search` or `gpnas sweep` without a config, whichever began the study, with the flags
and exit codes of that command:

    --storage  URL of the database.
    --name     Name of the study, if the database has several.
    --workdir  Folder of the runs (sweep), or of the weights and results (search).
    --results  Folder of the records (sweep only).
"""

import runpy
import signal
import sys
from collections.abc import Sequence

from absl import flags

from gpnas.commandline import one_line_on_error
from gpnas.errors import UserError
from gpnas.search import storage, sweep


def main(argv: Sequence[str]) -> None:
    """Runs the command that began the study, with the same arguments."""
    own = flags.FlagValues()  # the command defines these flags again, and its others
    url = flags.DEFINE_string("storage", None, "URL of the database.", flag_values=own)
    name = flags.DEFINE_string("name", None, "Name of the study.", flag_values=own)
    config = flags.DEFINE_string("config", None, "Refused.", flag_values=own)
    if any(one.startswith(("--help", "-h")) for one in argv[1:]):
        print(__doc__)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as in other commands
    with one_line_on_error("the same command resumes"):
        try:
            own(argv, known_only=True)
        except flags.Error as error:
            raise UserError("command line", " ".join(argv[1:]), str(error)) from error
        if config.value:
            raise UserError("config", config.value, "none; sweep and search begin a study")
        if not url.value:
            raise UserError("storage", url.value, "the database of a search or a study")
        study, about = storage.join_study(url.value, name.value)
    command = "sweep" if sweep.KIND in about else "search"
    sys.argv = [*argv, f"--name={study.study_name}"]
    runpy.run_module(f"gpnas.commands.{command}", None, "__main__", True)


if __name__ == "__main__":
    main(sys.argv)
