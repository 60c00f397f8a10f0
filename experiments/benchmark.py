"""Runs performance measurements and compares them with their targets.

    gpnas bench
    gpnas bench --only=masked_step_ratio,compilations

One JSON line per measurement (name, value, unit, target, holds, machine and others) is printed and
appended to results/benchmark.jsonl. The longest are `front_wall_ratio` and `front_wall_ratio_long`,
of about 20 minutes on 2 CPU cores. Two need PyTorch: pip install 'gpnas[bench]'.
"""

import importlib
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from gpnas.commandline import no_arguments, start
from gpnas.commands.benchmarks import MEASUREMENTS, Missing, Options
from gpnas.errors import check_choice
from gpnas.provenance import provenance
from gpnas.records import append_line, make_folder

_ONLY = flags.DEFINE_list("only", [], "Names of measurements; all if empty.")
_OUTPUT = flags.DEFINE_string("output", "results/benchmark.jsonl", "File to append the lines to.")
_RESULTS = flags.DEFINE_string("results", "results", "Folder of the studies' records.")
_FAST = flags.DEFINE_bool("fast", False, "Tiny sizes, to test the measurements.")


def main(argv: Sequence[str]) -> None:
    """Runs the requested measurements."""
    no_arguments(argv)
    for name in _ONLY.value:
        check_choice("only", name, MEASUREMENTS)
    output = pathlib.Path(_OUTPUT.value)
    make_folder(output.parent, "output")
    configs = {
        name: importlib.import_module(f"gpnas.configs.{name}").get_config
        for name in ("development", "front", "rigl", "serene", "sparse_vd")
    }
    options = Options(configs, pathlib.Path(_RESULTS.value), _FAST.value)
    for name in _ONLY.value or MEASUREMENTS:
        try:
            measurement = MEASUREMENTS[name](options)
        except Missing as error:
            if _ONLY.value:
                raise
            print(f"{name}: skipped, {error}", file=sys.stderr, flush=True)
            continue
        line = _line(measurement, options.fast)
        print(json.dumps(line, ensure_ascii=False), flush=True)
        append_line(output, line)


def _line(measurement: Any, fast: bool) -> dict:
    found = measurement._asdict()
    details = found.pop("details")
    return found | {
        "value": round(measurement.value, 4),
        "holds": bool(measurement.holds),
        **provenance(),
        "fast": fast,
        "details": details,
    }


if __name__ == "__main__":
    start(main)
