"""Lengths of runs for docs/coupling.md: lowest error for given training FLOPs."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.coupling_lengths.config import get_config
from experiments.studies.coupling_lengths.tables import (
    budget_table,
    cheapest_table,
    flops_figure,
    length_table,
)
from experiments.studies.study import Section, Study, records, sweep


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    tables = [budget_table(found), length_table(found), cheapest_table(found)]
    return {"coupling_lengths": Section(tables, [flops_figure(found)])}


STUDY = Study(get_config, sweep, _sections, "coupling.md")
