"""Measures what smaller networks and sparse matrices are worth, and writes docs/deploy.md's tables.

    python experiments/deploy.py           # measures what is missing, then writes
    python experiments/deploy.py --page    # only writes

Measuring takes about ten minutes on two cores, of which nothing else should take any, and needs
the extra `deploy`. Records are appended to results/deploy/records.jsonl.
"""

import importlib
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from gpnas._files import read_lines, write_bytes
from gpnas.commandline import no_arguments, start
from gpnas.deploy.study import measure
from gpnas.errors import UserError
from gpnas.report import deployed, markers

_ROOT = pathlib.Path(__file__).parents[1]
_ONLY_PAGE = flags.DEFINE_bool("page", False, "Measure nothing; write from the records.")
_FOLDER = flags.DEFINE_string("folder", str(_ROOT), "Folder of docs/deploy.md and of results/.")


def main(argv: Sequence[str]) -> None:
    """Measures, and writes the page and its figure."""
    no_arguments(argv)
    sys.path.append(str(_ROOT))
    config = importlib.import_module("configs.studies.deploy").get_config()
    folder = pathlib.Path(_FOLDER.value)
    page, results = folder / "docs" / "deploy.md", folder / "results"
    try:
        text = page.read_text()
    except OSError as error:
        allowed = f"a folder with docs/deploy.md ({error.strerror})"
        raise UserError("folder", str(folder), allowed) from error
    if not _ONLY_PAGE.value:
        measure(config, results)
    records = read_lines(results / config.study / "records.jsonl")
    exports = read_lines(results / config.study / "exports.jsonl")
    tables = {
        "exports": [deployed.export_table(one) for one in exports],
        "units": [deployed.unit_table(records)],
        "sparse": deployed.sparse_tables(records),
    }
    for name, own in tables.items():
        markers.show(own)
        text = markers.fill(text, name, own)
    figure = deployed.sparse_figure(records)
    (results / config.study / f"{figure.name}.svg").write_bytes(figure.file("svg"))
    write_bytes(page, text.encode())
    print(page)


if __name__ == "__main__":
    start(main)
