"""LeNet-300-100 on MNIST at five densities: pruning at plateaus, with and without sensitivity.

Rows and figure of docs/reproducing.md for LOBSTER, SeReNe and PSP-entropy (gradual pruning, which
is the loop alone, against one-shot), beside GMP and random masks. Three seeds, 100 epochs. About
two hours on 2 CPU cores.

    python experiments/sweep.py --config=configs/studies/curves.py
"""

from ml_collections import ConfigDict

from configs import gmp, lobster, one_shot, serene, static
from configs.studies.lenet300 import mnist
from gpnas.report.densities import density_table, gradual_table
from gpnas.report.table import Table
from gpnas.train.study import study

NAMES = ("curves",)  # all its arms at once
_LOOP = {"patience": 2, "rate": 3e-4, "tolerance": 0.1}


def shorten(config: ConfigDict) -> None:
    """Makes an arm's budget that of a quick look."""
    config.train.epochs = 5
    if "patience" in config.method:
        config.method.patience = 1


def tables(records: list[dict]) -> list[Table]:
    """Errors by density, and PSP-entropy's claims."""
    if not records:
        return []
    title = "LeNet-300-100 on MNIST by density, 100 epochs"
    return [density_table(title, records), gradual_table(records, "gradual", "one-shot")]


def get_config() -> ConfigDict:
    """Arms by name; all but random masks start dense."""
    arms = {
        "LOBSTER": mnist(lobster, 100, **_LOOP),
        "SeReNe": mnist(serene, 100, **_LOOP),
        "gradual": mnist(lobster, 100, **_LOOP | {"rate": 0.0}),
        "one-shot": mnist(one_shot, 100, at=0.5),
        "GMP": mnist(gmp, 100),
        "random": mnist(static, 100),
    }
    for arm in arms.values():
        arm.analysis = ("psp_entropy", "top_eigenvalue")
    return study("curves", arms, densities=(0.1, 0.05, 0.02, 0.01, 0.005), seeds=(0, 1, 2))
