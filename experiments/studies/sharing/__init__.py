"""Weight sharing and DARTS against random search and ASHA, on a small NAS-Bench-201."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.sharing.config import get_config
from experiments.studies.sharing.run import share
from experiments.studies.sharing.tables import method_table, rank_figures
from experiments.studies.study import Section, Study, records, to_results


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    name = config.study
    return {"sharing": Section([method_table(name, found)], rank_figures(name, found))}


STUDY = Study(get_config, to_results(share), _sections, "nas.md")
