"""Lottery tickets and their controls, LeNet-300-100 on MNIST."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.study import Section, Study, records, sweep
from experiments.studies.tickets.config import get_config
from experiments.studies.tickets.tables import sign_table, ticket_table

_CAPTION = "Lottery tickets, LeNet-300-100 on MNIST; trainings of 9,000 steps (paper: 50,000)"


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    tables = [ticket_table(_CAPTION, found), sign_table(found)] if found else []
    return {"tickets": Section(tables)}


def _shorten(config: ConfigDict) -> None:
    """Three rounds of trainings of one epoch."""
    config.method.rounds = 3
    config.train.epochs = 10


STUDY = Study(
    get_config, sweep, _sections, "reproducing.md", ("lottery tickets",), shorten=_shorten
)
