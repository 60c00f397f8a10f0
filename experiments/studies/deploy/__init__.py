"""Latency of compacted networks and of sparse matrices, on a CPU."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.deploy.config import get_config
from experiments.studies.deploy.run import measure
from experiments.studies.deploy.tables import sparse_figure, sparse_tables, unit_table
from experiments.studies.study import Section, Study, records, to_results
from gpnas.report import export_table


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    exports = records(results, config, "exports")
    return {
        "exports": Section([export_table(one) for one in exports]),
        "units": Section([unit_table(found)]),
        "sparse": Section(sparse_tables(found), [sparse_figure(found)]),
    }


STUDY = Study(get_config, to_results(measure), _sections, "deploy.md")
