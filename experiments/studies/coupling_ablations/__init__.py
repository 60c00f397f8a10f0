"""Ablations for docs/coupling.md: which parts of development matter."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.coupling.tables import ablation_table
from experiments.studies.coupling_ablations.config import DENSITY, SPARSEST, get_config
from experiments.studies.study import Section, Study, records, sweep


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    now, removed = records(results, config), records(results, config, "removed")
    of = {d: [r for r in now if r["config"]["method"]["density"] == d] for d in (DENSITY, SPARSEST)}
    tables = [
        ablation_table(of[DENSITY], "Development with one change at a time"),
        ablation_table(of[SPARSEST], "Other ways to grow, at 0.5 % of the weights"),
        ablation_table(removed, "Options that development no longer has, with survival feedback"),
    ]
    return {"coupling_ablations": Section(tables)}


STUDY = Study(get_config, sweep, _sections, "coupling.md")
