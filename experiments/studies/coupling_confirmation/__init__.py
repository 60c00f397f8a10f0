"""Development with V of one batch against baselines of equal training FLOPs, on new seeds."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import V_OF_ONE_BATCH
from experiments.studies.coupling.tables import error_table, gap_table
from experiments.studies.coupling_confirmation.config import get_config
from experiments.studies.study import Section, Study, epochs, records, sweep


def sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    """Returns the differences of development with V of one batch, and the errors.

    Args:
      results: Folder of all studies' records.
      config: The study's config.
    """
    found = records(results, config)
    tables = [gap_table(found, V_OF_ONE_BATCH), error_table(found)] if found else []
    return {config.study: Section(tables)}


STUDY = Study(get_config, sweep, sections, "coupling.md", shorten=epochs(1))
