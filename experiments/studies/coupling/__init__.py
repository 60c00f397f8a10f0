"""Does coupling win between connections? LeNet-300-100 on Fashion-MNIST at five densities."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.coupling.config import get_config
from experiments.studies.coupling.tables import error_table, gap_table
from experiments.studies.learners.panels import density_panels
from experiments.studies.study import Section, Study, epochs, records, sweep

_HEADING = "Test error by density at equal training FLOPs"
_REFERENCES = ("development", "GMP sparse start", "GraNet matched")


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    figures = [density_panels(_HEADING, found, _REFERENCES, top=18.0)] if found else []
    return {"coupling": Section([gap_table(found), error_table(found)], figures)}


STUDY = Study(get_config, sweep, _sections, "coupling.md", shorten=epochs(1))
