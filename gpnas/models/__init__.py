"""Networks: plain `flax.linen` modules without masks.

Each maps images (batch, height, width, channels) to (batch, classes) logits, and follows the
calling convention of `gpnas.models.call`. Training takes any network as a `Model`, a pair of pure
functions made by `linen`, `from_nnx` or `from_equinox`. The networks of `MODELS` are built from
settings only; `Cell201`, `MacroNet` and `DartsNet` need an architecture. `find_widths` finds the
arguments of a constructor that set the widths.

`call` (calling convention) and `cell201`, `darts_cell` and `macronet` (operations of three search
spaces) are namespaces.
"""

from gpnas.models import call, cell201, darts_cell, macronet
from gpnas.models._cellnet import CellNet
from gpnas.models._convnet import ConvNet
from gpnas.models._layers import (
    CONVOLUTIONS,
    ReLU,
    avg_pool_3x3,
    batch_norm,
    conv_without_bias,
    im2col_conv,
    max_pool,
    resolve_conv,
)
from gpnas.models._lenet import LeNet5, LeNet300
from gpnas.models._macs import count_macs, network_macs
from gpnas.models._model import Model, from_equinox, from_nnx, linen
from gpnas.models._registry import (
    BY_THE_RUN,
    MODELS,
    architecture,
    check_widths,
    find_network,
    from_architecture,
    has_widths,
    is_known,
    removable_blocks,
)
from gpnas.models._resnet import ResNet
from gpnas.models._widths import Width, find_widths, with_widths
from gpnas.models.cell201 import Cell201
from gpnas.models.darts_cell import DartsNet, Genotype
from gpnas.models.macronet import MacroNet

__all__ = [
    "BY_THE_RUN", "CONVOLUTIONS", "MODELS", "Cell201", "CellNet", "ConvNet", "DartsNet", "Genotype",
    "LeNet5", "LeNet300", "MacroNet", "Model", "ReLU", "ResNet", "Width", "architecture",
    "avg_pool_3x3", "batch_norm", "call", "cell201", "check_widths", "conv_without_bias",
    "count_macs", "darts_cell", "find_network", "find_widths", "from_architecture",
    "from_equinox", "from_nnx", "has_widths", "im2col_conv", "is_known", "linen", "macronet",
    "max_pool", "network_macs", "removable_blocks", "resolve_conv", "with_widths",
]  # fmt: skip
