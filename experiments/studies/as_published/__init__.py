"""LeNet-300-100 on MNIST with the recipes of papers and their code."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.as_published.config import get_config
from experiments.studies.papers import NPN_EPOCHS, Bar, paper_epochs, paper_table
from experiments.studies.study import Section, Study, epochs, records, sweep

_VD = "68× at 1.92 %"
BARS = (
    Bar("sparse VD unremoved", _VD, 200, error=1.92, compression=68),
    Bar("sparse VD unremoved 0–1", _VD, 200, error=1.92, compression=68),
    Bar("L0 averaged", "219-214-100 at 1.4 %", 200, error=1.4,
        macs=219 * 214 + 214 * 100 + 100 * 10),  # the paper's row with one λ
    Bar("sensitivity per example", "103× at 1.95 %", error=1.95, compression=103),
    Bar("dense with Adam", epochs=NPN_EPOCHS),
    Bar("NPN with Adam", epochs=NPN_EPOCHS),
    Bar("NPN with SGD", epochs=NPN_EPOCHS),
)  # fmt: skip


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    bars = [bar for bar in BARS if bar.arm in config.arms]
    table = paper_table("By published recipes", bars, records(results, config))
    return {"as_published": Section([table])}


STUDY = Study(
    get_config, sweep, _sections, "reproducing.md", tuple(bar.arm for bar in BARS), epochs(3),
    paper_epochs=paper_epochs(BARS),
)  # fmt: skip
