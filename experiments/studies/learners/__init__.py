"""Sparse training methods on Fashion-MNIST, LeNet-300-100, at five densities: one figure."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.densities import density_table
from experiments.studies.learners.config import get_config
from experiments.studies.learners.panels import density_panels
from experiments.studies.study import Section, Study, epochs, records, sweep

_HEADING = "Sparse training on Fashion-MNIST: test error by density"


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    if not found:
        return {"learners": Section()}
    least = min(record["config"]["train"]["epochs"] for record in found)
    table = density_table(f"LeNet-300-100 on Fashion-MNIST by density, {least} epochs", found)
    figure = density_panels(_HEADING, found, ("GMP", "RigL", "development"), top=18.0)
    return {"learners": Section([table], [figure])}


STUDY = Study(get_config, sweep, _sections, "reproducing.md", shorten=epochs(2))
