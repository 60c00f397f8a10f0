"""Tuning for the confirmation of docs/coupling.md."""

import functools
import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import SPARSEST
from experiments.studies.coupling.tables import choice_table
from experiments.studies.coupling_tuning_confirmation.config import get_config
from experiments.studies.densities import density_asked
from experiments.studies.study import Section, Study, records, sweep


def sections(data: str, results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    """Returns the choice at 5, 2 and 1 %, and at 0.5 and 0.2 %.

    Args:
      data: The data set's name in captions.
      results: Folder of all studies' records.
      config: The study's config.
    """
    found = records(results, config)
    lowest = [record for record in found if density_asked(record) in SPARSEST]
    others = [record for record in found if density_asked(record) not in SPARSEST]
    tables = [
        choice_table(f"Choice of the weight decay on {data}, at {densities}", own)
        for densities, own in (("5, 2 and 1 %", others), ("0.5 and 0.2 %", lowest))
        if own
    ]
    return {config.study: Section(tables)}


STUDY = Study(get_config, sweep, functools.partial(sections, "Fashion-MNIST"), "coupling.md")
