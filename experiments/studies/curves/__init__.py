"""LeNet-300-100 on MNIST at five densities: pruning at plateaus, and the papers' claims."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.curves.claims import claim_table
from experiments.studies.curves.config import PAPER_EPOCHS, get_config
from experiments.studies.densities import density_table, gradual_table
from experiments.studies.study import Section, Study, epochs, records, sweep


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    if not found:
        return {"curves": Section()}
    least = min(record["config"]["train"]["epochs"] for record in found)
    tables = [
        density_table(f"LeNet-300-100 on MNIST by density, {least} epochs", found),
        claim_table(found),
    ]
    if "gradual" in config.arms:
        tables.append(gradual_table(found, "gradual", "one-shot"))
    return {"curves": Section(tables)}


STUDY = Study(
    get_config, sweep, _sections, "reproducing.md", shorten=epochs(4), paper_epochs=PAPER_EPOCHS
)
