"""Tuning for docs/coupling.md: the weight decay of each arm."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.coupling.tables import choice_table
from experiments.studies.coupling_tuning.config import get_config
from experiments.studies.study import Section, Study, records, sweep


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    table = choice_table("Choice of the weight decay at 5, 2 and 1 %", records(results, config))
    return {"coupling_tuning": Section([table])}


STUDY = Study(get_config, sweep, _sections, "coupling.md")
