"""Does coupling help weights? LeNet-300-100 on Fashion-MNIST at five densities."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import MATCHED, OURS, WINDOW_1_HIGHER
from experiments.studies.coupling.config import get_config
from experiments.studies.coupling.tables import (
    error_table,
    gap_table,
    savings_table,
)
from experiments.studies.coupling.targets import targets_table
from experiments.studies.learners.panels import density_panels
from experiments.studies.study import Section, Study, epochs, records, sweep

_HEADING = "Test error by density at equal training FLOPs"
_REFERENCES = (OURS, "GMP sparse start", "GraNet matched")


def sections(top: float, results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    """Returns tables of differences, errors and savings, and the figure of a study with these arms.

    Args:
      top: Largest error that the figure shows, in %.
      results: Folder of all studies' records.
      config: The study's config.
    """
    found = records(results, config)
    if not found:
        return {config.study: Section()}
    drawn = [record for record in found if record["arm"] in (OURS, *MATCHED)]
    figure = density_panels(_HEADING, drawn, _REFERENCES, top=top)
    tables = [gap_table(found), error_table(found)]
    if any(record["arm"] == "GMP" for record in found):
        tables.append(savings_table(found))
    if any(record["arm"] == WINDOW_1_HIGHER for record in found):
        tables.append(gap_table(found, WINDOW_1_HIGHER, corrected=False))
    return {config.study: Section(tables, [figure])}


def only_tables(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    """Returns tables of differences, if there are several arms, and errors: for few densities.

    Args:
      results: Folder of all studies' records.
      config: The study's config.
    """
    found = records(results, config)
    if not found:
        return {config.study: Section()}
    several = len({record["arm"] for record in found}) > 1
    return {config.study: Section([*([gap_table(found)] if several else []), error_table(found)])}


def _with_targets(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    targets = targets_table(results)
    own = Section([targets] if targets.rows else [])
    return {"coupling_targets": own, **sections(22.0, results, config)}


STUDY = Study(
    get_config,
    sweep,
    _with_targets,
    "coupling.md",
    shorten=epochs(1),
)
