"""The overshoot at equal training FLOPs, for docs/coupling.md."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.coupling.tables import ablation_table
from experiments.studies.coupling_overshoot.config import get_config
from experiments.studies.study import Section, Study, records, sweep


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    caption = "Other peaks at equal training FLOPs"
    return {config.study: Section([ablation_table(found, caption)] if found else [])}


STUDY = Study(get_config, sweep, _sections, "coupling.md")
