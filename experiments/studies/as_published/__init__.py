"""LeNet-300-100 on MNIST with the recipes of papers and their code."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.as_published.config import get_config
from experiments.studies.lenet300 import config as lenet300
from experiments.studies.papers import (
    NPN_EPOCHS,
    Bar,
    differences_table,
    paper_epochs,
    paper_table,
)
from experiments.studies.study import Section, Study, epochs, records, sweep

_VD = "68× at 1.92 %"
BARS = (
    Bar("sparse VD unremoved", _VD, 200, error=1.92, compression=68),
    Bar("sparse VD unremoved 0–1", _VD, 200, error=1.92, compression=68),
    Bar("L0 averaged", "219-214-100 at 1.4 %", 200, error=1.4,
        macs=219 * 214 + 214 * 100 + 100 * 10),  # the paper's row with one λ
    Bar("L0 averaged by layer", "266-88-33 at 1.8 %", 200, error=1.8,
        macs=266 * 88 + 88 * 33 + 33 * 10),
    Bar("sensitivity per example", "103× at 1.95 %", error=1.95, compression=103),
    Bar("dense with Adam", epochs=NPN_EPOCHS),
    Bar("NPN with Adam", epochs=NPN_EPOCHS),
    Bar("NPN with SGD", epochs=NPN_EPOCHS),
)  # fmt: skip


#: Pairs of arms, here and in the study lenet300.
PAIRS = (
    ("sparse VD unremoved", "sparse VD"),
    ("sparse VD unremoved 0–1", "sparse VD unremoved"),
    ("L0 averaged by layer", "L0"),
    ("sensitivity per example", "sensitivity 103×"),
    ("NPN with Adam", "dense with Adam"),
    ("L0-ARM", "L0"),
)


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    own, other = records(results, config), records(results, lenet300.get_config())
    bars = [bar for bar in BARS if bar.arm in config.arms]
    differences = differences_table(PAIRS, [*own, *other]) if own else None
    tables = [paper_table("By published recipes", bars, own), differences]
    return {"as_published": Section([table for table in tables if table and table.rows])}


STUDY = Study(
    get_config, sweep, _sections, "reproducing.md", tuple(bar.arm for bar in BARS), epochs(3),
    paper_epochs=paper_epochs(BARS),
)  # fmt: skip
