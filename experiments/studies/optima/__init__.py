"""Number of evaluations that strategies need to find a table's optimum; from the benchmark."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.optima.tables import optimum_table
from experiments.studies.study import Section, Study
from gpnas.records import read_lines


def _config() -> ConfigDict:
    return ConfigDict({"study": "optima"})


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    del config
    return {"optima": Section([optimum_table(read_lines(results / "benchmark.jsonl"))])}


STUDY = Study(_config, None, _sections, "nas.md")
