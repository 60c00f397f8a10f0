"""GradMax's student and teacher: do neurons initialised by singular vectors learn faster?"""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.gradmax.config import get_config
from experiments.studies.gradmax.run import CONTROLS, matching, teach
from experiments.studies.gradmax.tables import growth_figure, growth_tables
from experiments.studies.study import Section, Study, records, to_results


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = matching(records(results, config), config)
    if not found:
        return {"gradmax": Section()}
    tables = growth_tables(found, list(CONTROLS.items()))
    return {"gradmax": Section(tables, [growth_figure(found)])}


STUDY = Study(get_config, to_results(teach), _sections, "units.md")
