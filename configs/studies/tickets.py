"""Lottery tickets and their controls, LeNet-300-100 on MNIST, five trials.

The paper's three curves, see docs/reproducing.md. About an hour on 2 CPU cores.

    python experiments/reproduce.py "lottery tickets"
"""

from ml_collections import ConfigDict

from configs import lottery
from gpnas.report.table import Table
from gpnas.report.tickets import sign_table, ticket_table
from gpnas.train.study import study

NAMES = ("lottery tickets",)


def shorten(config: ConfigDict) -> None:
    """Makes the budget that of a quick look: three rounds, trainings of one epoch."""
    config.method.rounds = 3
    config.train.epochs = 10


def tables(records: list[dict]) -> list[Table]:
    """The paper's curves as a table, and its three signs."""
    caption = "Lottery tickets, LeNet-300-100 on MNIST; trainings of 9,000 steps (paper: 50,000)"
    return [ticket_table(caption, records), sign_table(records)] if records else []


def get_config() -> ConfigDict:
    """One arm; the controls are trained within each run."""
    arm = lottery.get_config()
    arm.train.tensorboard = False
    return study("tickets", {"lottery tickets": arm}, densities=())
