"""What mask updates do, for docs/coupling.md: survival of grown weights, and final masks."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.coupling_mechanism.config import get_config
from experiments.studies.coupling_mechanism.run import measure_missing
from experiments.studies.coupling_mechanism.tables import (
    field_table,
    gain_table,
    layer_table,
    retrained_table,
    survival_table,
)
from experiments.studies.study import Section, Study, records


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    if not found:
        return {"coupling_mechanism": Section()}
    tables = [
        survival_table(found, config.ages),
        gain_table(found, config.age),
        layer_table(found),
        retrained_table(found),
    ]
    fields = field_table(found)
    tables += [fields] if fields.rows else []
    return {"coupling_mechanism": Section(tables)}


STUDY = Study(get_config, measure_missing, _sections, "coupling.md")
