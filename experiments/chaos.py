"""Injects faults into small runs and checks that they recover.

    python experiments/chaos.py
    python experiments/chaos.py --only=sigkill --kills=8

One JSON line per fault (name, value, target, holds, machine and others) is printed and appended to
results/chaos.jsonl. Runs are those of experiments/faults/small.py. Their processes are killed,
asked to stop, started twice, or left without disk space, and files in their folders are damaged.
All faults take about an hour on 2 CPU cores.
"""

import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence

from absl import flags

from gpnas.commandline import no_arguments, start
from gpnas.errors import UserError, check_choice
from gpnas.provenance import provenance
from gpnas.records import append_line, make_folder

_ROOT = pathlib.Path(__file__).parents[1]
_ONLY = flags.DEFINE_list("only", [], "Names of faults; all if empty.")
_KILLS = flags.DEFINE_integer("kills", None, "Repetitions of each fault, instead of its default.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of random times and places.")
_OUTPUT = flags.DEFINE_string("output", "results/chaos.jsonl", "File to append the lines to.")


def main(argv: Sequence[str]) -> None:
    """Injects the requested faults."""
    no_arguments(argv)
    sys.path.append(str(_ROOT))
    # Imported here, since the repository has just been added to the path.
    from experiments.faults import FAULTS, Options

    for name in _ONLY.value:
        check_choice("only", name, FAULTS)
    if _KILLS.value is not None and _KILLS.value < 1:
        raise UserError("kills", _KILLS.value, "1 or more")
    output = pathlib.Path(_OUTPUT.value)
    make_folder(output.parent, "output")
    for name in _ONLY.value or FAULTS:
        fault, usual = FAULTS[name]
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            repeats = usual if _KILLS.value is None else _KILLS.value
            found = fault(Options(pathlib.Path(folder), repeats, seed=_SEED.value))._asdict()
        found["details"] |= {"seconds": round(time.monotonic() - begun, 1)}
        line = {"repeats": repeats, "seed": _SEED.value} | provenance() | found
        print(json.dumps(line, ensure_ascii=False), flush=True)
        append_line(output, line)


if __name__ == "__main__":
    start(main)
