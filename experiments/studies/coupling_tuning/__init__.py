"""Tuning for docs/coupling.md: the weight decay of each arm."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import SPARSEST
from experiments.studies.coupling.tables import choice_table
from experiments.studies.coupling_tuning.config import get_config
from experiments.studies.densities import density_asked
from experiments.studies.study import Section, Study, records, sweep


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    sparsest = [record for record in found if density_asked(record) in SPARSEST]
    tables = [choice_table("Weight decay at 5, 2 and 1 %", [r for r in found if r not in sparsest])]
    if sparsest:
        tables.append(choice_table("Weight decay at 0.5 and 0.2 %", sparsest))
    return {"coupling_tuning": Section(tables)}


STUDY = Study(get_config, sweep, _sections, "coupling.md")
