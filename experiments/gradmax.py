"""Lets students grow beside a teacher, and writes what came of it into docs/units.md.

    python experiments/gradmax.py --config=configs/studies/gradmax.py           # trains, writes
    python experiments/gradmax.py --config=configs/studies/gradmax.py --page    # only writes

Records are appended to results/gradmax/records.jsonl as they come; students that are there are
skipped. The figure stands beside them.
"""

import pathlib
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from gpnas._files import read_lines, write_bytes
from gpnas.commandline import no_arguments, start
from gpnas.errors import UserError
from gpnas.report import growths, markers
from gpnas.train.growth_study import CONTROLS, matching, teach

_ROOT = pathlib.Path(__file__).parents[1]
_CONFIG = config_flags.DEFINE_config_file("config", None, "What is taught.", lock_config=True)
_ONLY_PAGE = flags.DEFINE_bool("page", False, "Train nothing; write from the records.")
_FOLDER = flags.DEFINE_string("folder", str(_ROOT), "Folder of docs/units.md and of results/.")
flags.mark_flags_as_required(["config"])


def main(argv: Sequence[str]) -> None:
    """Trains what is missing, and writes the tables and the figure."""
    no_arguments(argv)
    config, folder = _CONFIG.value, pathlib.Path(_FOLDER.value)
    page, results = folder / "docs" / "units.md", folder / "results"
    try:
        text = page.read_text()
    except OSError as error:
        allowed = f"a folder with docs/units.md ({error.strerror})"
        raise UserError("folder", _FOLDER.value, allowed) from error
    path = results / config.study / "records.jsonl"
    if not _ONLY_PAGE.value:
        path = teach(config, str(results))
    records = matching(read_lines(path), config)
    if not records:
        raise UserError("page", str(path), "a folder with records of these settings")
    tables = growths.growth_tables(records, list(CONTROLS.items()))
    markers.show(tables)
    (path.parent / "gradmax.svg").write_bytes(growths.growth_figure(records).file("svg"))
    write_bytes(page, markers.fill(text, "gradmax", tables).encode())
    print(page)


if __name__ == "__main__":
    start(main)
