"""LeNet-5 (Caffe) on MNIST: sparse training methods and their papers' numbers."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.lenet5.config import get_config
from experiments.studies.papers import Bar, paper_epochs, paper_table
from experiments.studies.study import Section, Study, epochs, records, sweep

BARS = (
    Bar("LeNet-5 dense", "0.80 %", error=0.8),
    Bar("LeNet-5 sparse VD", "280× at 0.75 %", 200, error=0.75, compression=280, after_miss=True),
    Bar("LeNet-5 sensitivity", "51× at 0.78 %", error=0.78, compression=51),
    Bar("LeNet-5 SeReNe mean"),
    Bar("LeNet-5 SeReNe sum"),
    Bar("LeNet-5 L0", "9-18-65-25 at 1.0 %", 200, error=1.0, units=(9, 18, 65, 25)),
    Bar("LeNet-5 L0-ARM", "6-10-39-11 at 1.0 %", 200, error=1.0, units=(6, 10, 39, 11),
        after_miss=True),
)  # fmt: skip


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    bars = [bar for bar in BARS if bar.arm in config.arms]
    table = paper_table("LeNet-5 (Caffe) on MNIST", bars, records(results, config))
    return {"lenet5": Section([table])}


def _shorten(config: ConfigDict) -> None:
    """One epoch of a third of the images."""
    epochs(1)(config)
    config.data.validation = 0.7


STUDY = Study(
    get_config, sweep, _sections, "reproducing.md", tuple(bar.arm for bar in BARS), _shorten,
    paper_epochs=paper_epochs(BARS),
)  # fmt: skip
