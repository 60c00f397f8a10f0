"""`gpnas.models.ResNet` in PyTorch with the same weights; layers have their Flax names."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Network(nn.ModuleDict):
    """The forward pass; layers are named as in Flax, with `_` between parts."""

    def __init__(self, layers: Mapping[str, nn.Module], blocks: int):
        super().__init__(layers)
        self.blocks = blocks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 3, height, width) → (batch, classes)."""
        x = functional.relu(self["stem_norm"](self["stem"](x)))
        for number in range(3 * self.blocks):
            stage, block = divmod(number, self.blocks)
            name = f"stage{stage}_block{block}"
            strided = stage and not block
            y = self[f"{name}_conv1"](functional.pad(x, (0, 1, 0, 1)) if strided else x)
            y = functional.relu(self[f"{name}_norm1"](y))
            y = self[f"{name}_norm2"](self[f"{name}_conv2"](y))
            if strided:
                x = self[f"{name}_shortcut_norm"](self[f"{name}_shortcut"](x))
            x = functional.relu(x + y)
        return self["classifier"](x.mean((2, 3)))


def torch_resnet(variables: Mapping[str, Any], blocks: int) -> Network:
    """Builds the network in evaluation mode.

    Args:
      variables: Variables of the Flax network.
      blocks: Blocks per stage.
    """
    params, statistics = variables["params"], variables["batch_stats"]
    layers: dict[str, nn.Module] = {}
    for name, own in params.items():
        if name == "classifier":
            layers[name] = _dense(own)
            continue
        parts, stats = own, statistics.get(name, {})
        if "conv1" not in own:  # a separate layer, not a block
            parts, stats = {"": own}, {"": stats}
        for part, one in parts.items():
            strided = name.endswith("_shortcut") or (
                part == "conv1" and f"{name}_shortcut" in params
            )
            layers[f"{name}_{part}" if part else name] = (
                _conv(one["kernel"], 2 if strided else 1)
                if "kernel" in one
                else _norm(one, stats[part])
            )
    return Network(layers, blocks).eval()


def _tensor(x: Any) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.array(x)))


def _dense(own: Mapping[str, np.ndarray]) -> nn.Linear:
    layer = nn.Linear(*own["kernel"].shape)
    layer.weight, layer.bias = _tensor(own["kernel"].T), _tensor(own["bias"])
    return layer


def _conv(kernel: np.ndarray, stride: int) -> nn.Conv2d:
    height, _, inside, outside = kernel.shape
    # JAX pads by (0, 1) in strided convolutions, done separately here.
    padding = height // 2 if stride == 1 else 0
    layer = nn.Conv2d(inside, outside, height, stride, padding, bias=False)
    layer.weight = _tensor(kernel.transpose(3, 2, 0, 1))
    return layer


def _norm(own: Mapping[str, np.ndarray], statistics: Mapping[str, np.ndarray]) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(len(own["scale"]))
    layer.weight, layer.bias = _tensor(own["scale"]), _tensor(own["bias"])
    layer.running_mean = _tensor(statistics["mean"]).data
    layer.running_var = _tensor(statistics["var"]).data
    return layer
