"""Development of units with elastic arrays against dense training, LeNet-5 on Fashion-MNIST."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.elastic.config import ARMS, get_config
from experiments.studies.elastic.tables import elastic_table
from experiments.studies.study import Section, Study, epochs, records, sweep

_CAPTION = "LeNet-5 on Fashion-MNIST, a quarter of the units left, 10 epochs"


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    return {"elastic": Section([elastic_table(_CAPTION, found, ARMS)] if found else [])}


STUDY = Study(get_config, sweep, _sections, "reproducing.md", rows=ARMS, shorten=epochs(1))
