"""Networks: plain `flax.linen` modules with no mask inside.

Each is called as `module.apply(variables, images, train=…)` with images (batch, height, width,
channels), and returns (batch, classes) logits. Any module of that form trains here.
"""

from gpnas.models.layers import im2col_conv, max_pool_2x2
from gpnas.models.lenet import LeNet5, LeNet300
from gpnas.models.resnet import ResNet

MODELS = {"lenet300": LeNet300, "lenet5": LeNet5, "resnet": ResNet}

__all__ = ["MODELS", "LeNet5", "LeNet300", "ResNet", "im2col_conv", "max_pool_2x2"]
