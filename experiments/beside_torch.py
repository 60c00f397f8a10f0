"""Units beside Torch-Pruning: groups, pruning by half, latency; writes its tables of docs/units.md.

    .venv/bin/pip install -e '.[bench]'
    python experiments/beside_torch.py           # measures, then writes
    python experiments/beside_torch.py --page    # only writes

A JSON line a network is appended to results/units/torch_pruning.jsonl. About a minute on two cores,
five with --compile; nothing else should run beside it.
"""

import json
import pathlib
from collections.abc import Sequence

from absl import flags

from gpnas._files import append_line, read_lines, write_bytes
from gpnas.benchmark.torch_pruning import SUBJECTS, compare, pruning_tables
from gpnas.commandline import no_arguments, start
from gpnas.report import markers
from gpnas.train.record import git_revision, machine, versions

_ROOT = pathlib.Path(__file__).parents[1]
_ONLY_PAGE = flags.DEFINE_bool("page", False, "Measure nothing; write from the records.")
_COMPILE = flags.DEFINE_bool("compile", False, "Time networks that torch.compile made, too.")
_ROUNDS = flags.DEFINE_integer("rounds", 20, "Timed calls of each network.", lower_bound=1)
_FOLDER = flags.DEFINE_string("folder", str(_ROOT), "Folder of docs/units.md and of results/.")


def main(argv: Sequence[str]) -> None:
    """Measures each network, and writes the tables."""
    no_arguments(argv)
    folder = pathlib.Path(_FOLDER.value)
    records = folder / "results" / "units" / "torch_pruning.jsonl"
    for subject in () if _ONLY_PAGE.value else SUBJECTS:
        found = compare(subject, _ROUNDS.value, _COMPILE.value)
        record = found | {"git": git_revision(), "machine": machine(), "versions": versions()}
        print(json.dumps(record), flush=True)
        append_line(records, record)
    tables = pruning_tables(read_lines(records))
    markers.show(tables)
    page = folder / "docs" / "units.md"
    write_bytes(page, markers.fill(page.read_text(), "torch_pruning", tables).encode())


if __name__ == "__main__":
    start(main)
