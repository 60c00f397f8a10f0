"""Lottery tickets and their controls, LeNet-300-100 on MNIST."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.study import Section, Study, records, sweep
from experiments.studies.tickets.config import get_config
from experiments.studies.tickets.tables import caption, sign_table, ticket_table

# 46 trainings (one dense; 15 rounds of a ticket and two controls) of 56 epochs, which are the whole
# epochs closest to the 50,000 iterations of the paper.
PAPER_EPOCHS = {"lottery tickets": 46 * 56}


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    tables = [ticket_table(caption(found), found), sign_table(found)] if found else []
    return {"tickets": Section(tables)}


def _shorten(config: ConfigDict) -> None:
    """Three rounds of trainings of one epoch."""
    config.method.rounds = 3
    config.train.epochs = 10


STUDY = Study(
    get_config, sweep, _sections, "reproducing.md", ("lottery tickets",), _shorten,
    paper_epochs=PAPER_EPOCHS,
)  # fmt: skip
