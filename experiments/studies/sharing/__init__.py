"""Weight sharing and DARTS against random search and ASHA, on a small NAS-Bench-201."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.sharing.config import get_config
from experiments.studies.sharing.run import share
from experiments.studies.sharing.tables import method_tables, rank_figures
from experiments.studies.study import Section, Study, to_results
from gpnas.report import read_runs, summarise


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    summary = summarise(read_runs([results / config.study / "records.jsonl"]))
    return {"sharing": Section(method_tables(summary), rank_figures(summary))}


STUDY = Study(get_config, to_results(share), _sections, "nas.md")
