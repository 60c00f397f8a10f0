"""A front of a residual network."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.front import shorten
from experiments.studies.front.run import chosen_rates, run
from experiments.studies.front.tables import front_tables
from experiments.studies.front_resnet.config import get_config
from experiments.studies.study import Section, Study, records


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    own = [record for record in found if record["seed"] in config.seeds]
    if not own:
        return {"front_resnet": Section()}
    rates = chosen_rates(found, config)
    return {"front_resnet": Section(front_tables(own, rates, config.front.front))}


STUDY = Study(get_config, run, _sections, "front.md", shorten=shorten)
