"""The newest result of each injected fault; from the lines of `experiments/chaos.py`."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments.faults import FAULTS
from experiments.studies.study import Section, Study
from gpnas.records import read_lines
from gpnas.report import Cell, Column, Table


def _config() -> ConfigDict:
    return ConfigDict({"study": "faults"})


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    del config
    return {"faults": Section([fault_table(read_lines(results / "chaos.jsonl"))])}


def fault_table(lines: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulates the newest line of each fault, also of faults without a line.

    Lines with fewer repetitions than the fault's default are trials, and are left out.

    Args:
      lines: Lines of results/chaos.jsonl, in order.
    """
    usual = {name: repeats for name, (_, repeats) in FAULTS.items()}
    newest = {
        name: line
        for line in lines
        if (name := line["name"]) in usual and line.get("repeats", usual[name]) >= usual[name]
    }
    titles = ("fault", "value", "target", "holds", "recorded", "device")
    columns = [Column(title, numeric=title == "value") for title in titles]
    rows = [[Cell(text) for text in (name, *_texts(newest.get(name)))] for name in FAULTS]
    note = "Values are counts; that of sigterm is the longest time in seconds."
    return Table("Injected faults", columns, rows, [note])


def _texts(line: Mapping[str, Any] | None) -> list[str]:
    if line is None:
        return ["not measured", *[""] * 4]
    holds = "yes" if line["holds"] else "no"
    device = line["machine"]["device"]
    return [f"{line['value']:.4g}", line["target"], holds, line["date"][:10], device]


STUDY = Study(_config, None, _sections, "many-machines.md")
