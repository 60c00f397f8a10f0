"""Tuning for docs/coupling.md: the weight decay of each arm."""

import pathlib
from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from experiments.studies.coupling.tables import choice_table
from experiments.studies.coupling_tuning.config import get_config
from experiments.studies.study import Section, Study, records, sweep


def tuning(get_config: Callable[[], ConfigDict], densities: str) -> Study:
    """Returns a study of the weight decay of each arm.

    Args:
      get_config: Config of the study.
      densities: The densities where its choice is used, for the caption.
    """

    def sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
        caption = f"Choice of the weight decay at {densities}"
        return {config.study: Section([choice_table(caption, records(results, config))])}

    return Study(get_config, sweep, sections, "coupling.md")


STUDY = tuning(get_config, "5, 2 and 1 %")
