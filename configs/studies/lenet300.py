"""LeNet-300-100 on MNIST: the sparse learners beside their papers' numbers, five seeds.

The rows of docs/reproducing.md; each arm has its own density or prices. Budgets in epochs are those
of the arms; where a paper had more, the page says so. About four hours on 2 CPU cores.

    python experiments/reproduce.py "sparse VD"
"""

from typing import Any

from ml_collections import ConfigDict

from configs import dense, gmp, l0, l0_arm, sensitivity, snfs, sparse_vd
from configs.studies.pinned import pinned
from gpnas.report.papers import Bar, paper_table
from gpnas.report.table import Table
from gpnas.train.study import study

BARS = (
    Bar("dense", "1.64 %"),
    Bar("sparse VD", "68× at 1.92 %", 200, error=1.92, compression=68),
    Bar("sparse VD KL×0.3", "", 200, error=1.92, compression=68),
    Bar("sensitivity 27.9×", "27.9× at 1.65 %", error=1.65, compression=27.9),
    Bar("sensitivity 103×", "103× at 1.95 %", error=1.95, compression=103),
    Bar("sensitivity specified", "80× at 1.96 %"),
    Bar("SNFS 5 %", "20× at 1.53 %", 100, error=1.53, compression=20),
    Bar("SNFS 2 %", "50× at 1.99 %", 100, error=1.99, compression=50),
    Bar("SNFS 1 %", "100× at 2.36 %", 100, error=2.36, compression=100),
    Bar("L0", "266-88-33 at 1.8 %", 200, error=1.8, macs=266 * 88 + 88 * 33 + 33 * 10),
    Bar("L0-ARM", "143-153-78 at 1.8 %", 200),
    Bar("GMP 1 %"),
)
NAMES = tuple(bar.arm for bar in BARS)

# Of the plateaus, which are shorter than the paper's; the rest is the recipe of the other arms.
LOOP: dict[str, Any] = {"refresh": 10, "rate": 3e-4, "tolerance": 0.1, "stop_at": 0.7}


def mnist(module: Any, epochs: int, **method: Any) -> ConfigDict:
    """A method's config on MNIST, batch 100, with some of its fields changed."""
    config = pinned(module.get_config())
    config.data.name = "mnist"
    config.train.epochs = epochs
    config.train.batch_size = 100
    config.train.log_every = 540
    config.train.tensorboard = False
    config.method.update(method)
    return config


def same_recipe(config: ConfigDict) -> None:
    """SGD as the other arms have it, for methods whose own configs follow their papers."""
    config.optimizer.update(weight_decay=5e-4, decay_at=0.0)
    config.optimizer.arguments.momentum = 0.9


def shorten(config: ConfigDict) -> None:
    """Makes an arm's budget that of a quick look."""
    config.train.epochs = max(config.train.epochs // 40, 3)
    if "patience" in config.method:
        config.method.patience = 1


def tables(records: list[dict]) -> list[Table]:
    """The rows: papers' numbers beside ours."""
    return [paper_table("LeNet-300-100 on MNIST", BARS, records)]


def by_layer(penalties: tuple[float, float, float]) -> ConfigDict:
    """L0-ARM with a price of its own for each layer's weights."""
    config = mnist(l0_arm, 200, penalties=penalties)
    config.optimizer.update(schedule="linear", decay_at=0.5)
    return config


def get_config() -> ConfigDict:
    """Arms by name; seeds 100 to 102 were for the choices."""
    arms = {
        "dense": mnist(dense, 100),
        "sparse VD": mnist(sparse_vd, 200),
        "sparse VD KL×0.3": mnist(sparse_vd, 200, weight=0.3),
        "sensitivity 27.9×": mnist(sensitivity, 150, density=0.0357, patience=2, **LOOP),
        "sensitivity 103×": mnist(sensitivity, 150, density=0.0097, patience=1, **LOOP),
        "sensitivity specified": mnist(
            sensitivity, 150, density=0.0125, patience=1, kind="specified", **LOOP
        ),
        "SNFS 5 %": mnist(snfs, 100, density=0.05, every=540, fraction=0.3),
        "SNFS 2 %": mnist(snfs, 100, density=0.02, every=540),
        "SNFS 1 %": mnist(snfs, 100, density=0.01, every=540),
        "L0": mnist(l0, 200, penalties=(0.2, 0.5, 2.5)),
        "L0-ARM": mnist(l0_arm, 200),
        "GMP 1 %": mnist(gmp, 100, density=0.01),
    }
    for arm in ("dense", "SNFS 5 %", "SNFS 2 %", "SNFS 1 %", "GMP 1 %"):
        arms[arm].optimizer.weight_decay = 5e-4
    for arm in ("sensitivity 27.9×", "sensitivity 103×", "sensitivity specified"):
        same_recipe(arms[arm])
    for arm in ("L0", "L0-ARM"):
        arms[arm].optimizer.update(schedule="linear", decay_at=0.5)
    return study("lenet300", arms, densities=())
