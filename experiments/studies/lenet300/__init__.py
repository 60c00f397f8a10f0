"""LeNet-300-100 on MNIST: sparse training methods and their papers' numbers."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.lenet300.config import get_config
from experiments.studies.papers import Bar, paper_epochs, paper_table
from experiments.studies.study import Section, Study, epochs, records, sweep

BARS = (
    Bar("dense", "1.64 %", error=1.64),
    Bar("sparse VD", "68× at 1.92 %", 200, error=1.92, compression=68),
    Bar("sparse VD KL×0.3", "68× at 1.92 %", 200, error=1.92, compression=68, after_miss=True),
    Bar("sensitivity 27.9×", "27.9× at 1.65 %", error=1.65, compression=27.9),
    Bar("sensitivity 103×", "103× at 1.95 %", error=1.95, compression=103),
    Bar("sensitivity specified", "80× at 1.96 %", error=1.96, compression=80),
    Bar("SNFS 5 %", "20× at 1.53 %", 100, error=1.53, compression=20, after_miss=True),
    Bar("SNFS 2 %", "50× at 1.99 %", 100, error=1.99, compression=50),
    Bar("SNFS 1 %", "100× at 2.36 %", 100, error=2.36, compression=100),
    Bar("L0", "266-88-33 at 1.8 %", 200, error=1.8, macs=266 * 88 + 88 * 33 + 33 * 10),
    Bar("L0-ARM", "143-153-78 at 1.8 %", 200, error=1.8, units=(143, 153, 78)),
    Bar("GMP 1 %"),
)


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    table = paper_table("LeNet-300-100 on MNIST", BARS, records(results, config))
    return {"lenet300": Section([table])}


def _shorten(config: ConfigDict) -> None:
    epochs(max(config.train.epochs // 40, 3))(config)


STUDY = Study(
    get_config, sweep, _sections, "reproducing.md", tuple(bar.arm for bar in BARS), _shorten,
    paper_epochs=paper_epochs(BARS),
)  # fmt: skip
