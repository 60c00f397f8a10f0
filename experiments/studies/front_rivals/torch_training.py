"""What the peers in PyTorch share: the network, its data, steps of training, and errors."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import nn
from torch.nn import functional

from experiments.studies.front_rivals.networks import Context, train_flops
from experiments.studies.front_rivals.space import Widths
from gpnas.data import Split, standardize

_SPLITS = ("train", "validation", "test")


class Net(nn.Module):
    """`gpnas.models.ConvNet` in PyTorch, for square images."""

    def __init__(self, widths: Widths, shape: Sequence[int], num_classes: int):
        super().__init__()
        (a, b, c, hidden), (side, _, channels) = widths, shape
        self.conv1 = nn.Conv2d(channels, a, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(a, b, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(b, c, 3, 2, padding=1, bias=False)
        self.hidden = nn.Linear(((side // 2 + 1) // 2) ** 2 * c, hidden, bias=False)
        self.classifier = nn.Linear(hidden, num_classes)
        self.norms = nn.ModuleList([*map(nn.BatchNorm2d, (a, b, c)), nn.BatchNorm1d(hidden)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, side, side) → (batch, num_classes) logits."""
        x = functional.max_pool2d(functional.relu(self.norms[0](self.conv1(x))), 2)
        x = functional.relu(self.norms[1](self.conv2(x)))
        x = functional.relu(self.norms[2](self.conv3(x)))
        x = functional.relu(self.norms[3](self.hidden(x.flatten(1))))
        return self.classifier(x)

    def widths(self) -> Widths:
        """Returns the number of units of each layer."""
        layers = (self.conv1, self.conv2, self.conv3, self.hidden)
        return tuple(len(layer.weight) for layer in layers)


class Training(NamedTuple):
    """Settings of a run.

    Attributes:
      context: Context of the study.
      seed: Seed of the initial weights and of the order of batches.
      rate: Learning rate.
      splits: Images, (examples, channels, side, side), and labels by the name of a split.
    """

    context: Context
    seed: int
    rate: float
    splits: Mapping[str, tuple[torch.Tensor, torch.Tensor]]


def training(context: Context, seed: int, rate: float) -> Training:
    """Returns the settings of a run; PyTorch computes in one thread from now on.

    Args:
      context: Context of the study.
      seed: Seed of the initial weights and of the order of batches.
      rate: Learning rate.
    """
    torch.set_num_threads(1)
    splits = {name: _tensors(context, getattr(context.data, name)) for name in _SPLITS}
    return Training(context, seed, rate, splits)


def _tensors(context: Context, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    images = np.asarray(standardize(split.inputs, context.data)).transpose(0, 3, 1, 2)
    return torch.from_numpy(images.copy()), torch.from_numpy(np.asarray(split.targets, np.int64))


def whole_net(run: Training) -> Net:
    """Returns the whole network with the initial weights of the run's seed."""
    torch.manual_seed(run.seed)
    data = run.context.data
    return Net(run.context.costs.whole, data.input_shape, data.num_classes)


def sgd(net: Net, front: ConfigDict) -> torch.optim.Optimizer:
    """Returns the optimizer of the study `front`; `step` sets its learning rate.

    Args:
      net: The network.
      front: Config of a front.
    """
    own = front.optimizer
    return torch.optim.SGD(
        net.parameters(), lr=0.0, momentum=own.arguments.momentum, weight_decay=own.weight_decay
    )


def batches_of(run: Training) -> Iterator[np.ndarray]:
    """Yields the indices of each batch, epoch after epoch."""
    size = int(run.context.config.front.train.batch_size)
    for epoch in itertools.count():
        order = np.random.default_rng((run.seed, epoch)).permutation(len(run.splits["train"][0]))
        yield from order[: len(order) // size * size].reshape(-1, size)


def loss_of(net: Net, run: Training, batch: np.ndarray) -> torch.Tensor:
    """Returns the cross-entropy of a batch, given by indices of training images."""
    images, labels = run.splits["train"]
    return functional.cross_entropy(net(images[batch]), labels[batch])


def macs_of(net: Net, run: Training) -> int:
    """Returns the MACs of a network for one example."""
    return int(run.context.costs.macs(net.widths()))


def step(
    net: Net, optimizer: torch.optim.Optimizer, run: Training, batch: np.ndarray, rate: float
) -> float:
    """Takes one step.

    Args:
      net, optimizer: They are changed.
      run: Settings of the run.
      batch: Indices of training images.
      rate: Learning rate of this step.

    Returns:
      Its FLOPs.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    net.train()
    optimizer.zero_grad()
    loss_of(net, run, batch).backward()
    optimizer.step()
    return train_flops(run.context, macs_of(net, run), 1)


def errors_of(net: Net, run: Training) -> dict[str, float]:
    """Returns the errors in %: `{"test_error", "val_error"}`."""
    return {
        f"{name}_error": round(100 * float(_errors(net, run.splits[split])), 4)
        for name, split in (("test", "test"), ("val", "validation"))
    }


@torch.no_grad()
def _errors(net: Net, split: Sequence[torch.Tensor]) -> torch.Tensor:
    net.eval()
    images, labels = split
    wrong = [
        net(x).argmax(1) != y for x, y in zip(images.split(1000), labels.split(1000), strict=True)
    ]
    return torch.cat(wrong).float().mean()
