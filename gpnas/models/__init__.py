"""Networks: plain `flax.linen` modules with no mask inside.

Each maps images (batch, height, width, channels) to (batch, classes) logits, and is called as
`gpnas.models.call` says. Any module of that form trains here. Networks of
`MODELS` are built from settings alone; `Cell201`, `MacroNet` and `DartsNet` need an architecture,
and `Supernet201` one in each call.
"""

from gpnas.models import call
from gpnas.models.cell201 import Cell201
from gpnas.models.cellnet import CellNet
from gpnas.models.darts_cell import DartsNet, Genotype
from gpnas.models.layers import ReLU, avg_pool_3x3, im2col_conv, max_pool_2x2
from gpnas.models.lenet import LeNet5, LeNet300
from gpnas.models.macro import MacroNet
from gpnas.models.macs import network_macs
from gpnas.models.registry import (
    MODELS,
    architecture,
    blocks,
    build,
    has_widths,
    is_known,
)
from gpnas.models.resnet import ResNet
from gpnas.models.supernet201 import BatchStatisticsNorm, Supernet201, choice

__all__ = [
    "MODELS", "BatchStatisticsNorm", "Cell201", "CellNet", "DartsNet", "Genotype", "LeNet5",
    "LeNet300", "MacroNet", "ReLU", "ResNet", "Supernet201", "architecture", "avg_pool_3x3",
    "blocks", "build", "call", "choice", "has_widths", "im2col_conv", "is_known", "max_pool_2x2",
    "network_macs",
]  # fmt: skip
