"""Tuning for docs/coupling.md on MNIST."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import SPARSEST
from experiments.studies.coupling.tables import choice_table
from experiments.studies.coupling_tuning_mnist.config import get_config
from experiments.studies.densities import density_asked
from experiments.studies.study import Section, Study, records, sweep


def sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    """Returns the choice at the higher and at the lower densities.

    Args:
      results: Folder of all studies' records.
      config: The study's config.
    """
    found = records(results, config)
    lowest = [record for record in found if density_asked(record) in SPARSEST]
    others = [record for record in found if density_asked(record) not in SPARSEST]
    captions = ("Choice of the weight decay on MNIST, at 5, 2 and 1 %", "The same at 0.5 and 0.2 %")
    tables = [
        choice_table(caption, own)
        for caption, own in zip(captions, (others, lowest), strict=True)
        if own
    ]
    return {config.study: Section(tables)}


STUDY = Study(get_config, sweep, sections, "coupling.md")
