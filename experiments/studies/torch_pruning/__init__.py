"""Comparison with Torch-Pruning: groups, pruning by half, latency."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.study import Section, Study, records, to_results
from experiments.studies.torch_pruning.run import measure
from experiments.studies.torch_pruning.tables import pruning_tables


def _config() -> ConfigDict:
    config = ConfigDict()
    config.study = "torch_pruning"
    config.rounds = 20  # timed calls per network
    config.compile = False  # whether to also time compiled networks
    return config


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    return {"torch_pruning": Section(pruning_tables(records(results, config)))}


STUDY = Study(_config, to_results(measure), _sections, "units.md")
