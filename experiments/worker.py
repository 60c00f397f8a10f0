"""Takes part in a search or a study whose queue is in a database.

    gpnas worker --storage=sqlite:///runs/search/search.db
    gpnas worker --storage=postgresql+psycopg://me@host/database --workdir=runs --results=results

This is `gpnas search` or `gpnas sweep` without a config, whichever began the study, with the flags
and exit codes of that command. `--name` selects one of several studies.
"""

import runpy
import sys
from collections.abc import Sequence

from absl import flags

from gpnas.commandline import EXIT_USER, stop
from gpnas.errors import UserError
from gpnas.search import storage, sweep


def main(argv: Sequence[str]) -> None:
    """Runs the command that began the study, with the same arguments."""
    own = flags.FlagValues()  # the command defines these flags again, and its others
    url = flags.DEFINE_string("storage", None, "URL of the database.", flag_values=own)
    name = flags.DEFINE_string("name", None, "Name of the study.", flag_values=own)
    if {"--help", "-h", "--helpfull"} & {*argv}:
        print(__doc__)
        return
    try:
        own(argv, known_only=True)
        if not url.value:
            raise UserError("storage", url.value, "the database of a search or a study")
        study, about = storage.join_study(url.value, name.value)
    except (UserError, flags.Error) as error:
        stop(error, EXIT_USER)
    command = "sweep" if sweep.KIND in about else "search"
    sys.argv = [*argv, f"--name={study.study_name}"]
    runpy.run_module(f"gpnas.commands.{command}", None, "__main__", True)


if __name__ == "__main__":
    main(sys.argv)
