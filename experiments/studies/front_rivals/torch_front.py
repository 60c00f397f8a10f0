"""A front in PyTorch: the main run is pruned by Torch-Pruning, and branches finish training."""

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import torch
import torch_pruning
from ml_collections import ConfigDict
from torch import nn
from torch.nn import functional

from experiments.studies.front_rivals.networks import (
    FIRST,
    Context,
    described,
    epoch_steps,
    train_flops,
)
from experiments.studies.front_rivals.space import Widths
from gpnas.data import Split, standardize
from gpnas.masks import schedule

_REST = 0.25  # fraction of the time between two levels with constant cost, as in `train_front`
_INTERVALS = 42  # times of pruning in the main run, as `method.every="auto"` has
_SPLITS = ("train", "validation", "test")
_SCORED = 10  # batches whose gradients the Taylor score sums


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


class _Training(NamedTuple):
    """Settings of a run."""

    context: Context
    seed: int
    rate: float
    splits: Mapping[str, tuple[torch.Tensor, torch.Tensor]]


def train_torch_front(
    context: Context, seed: int, rate: float, layerwise: bool = False
) -> dict[str, Any]:
    """Trains a front with the schedule of `train_front`, pruned by Torch-Pruning.

    At the times at which `train_front` updates masks, channels of lowest group Taylor score in the
    whole network are removed one by one until the MACs are within the cost curve. Scores are not
    divided by costs, and removed channels do not return. The optimizer is made anew after a
    removal, as in Torch-Pruning's examples.

    Args:
      context: Context of the study.
      seed: Seed of the initial weights and of the order of batches.
      rate: Learning rate.
      layerwise: Whether the same fraction of each layer is removed, the default of Torch-Pruning,
        instead of the lowest scores of the whole network.

    Returns:
      The networks with their training FLOPs, and those of the main run and all branches together.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    data, front = context.data, context.config.front
    splits = {name: _tensors(context, getattr(data, name)) for name in _SPLITS}
    run = _Training(context, seed, rate, splits)
    net = Net(context.costs.whole, data.input_shape, data.num_classes)
    total = epoch_steps(context) * front.train.epochs
    ends = {one["step"]: one["level"] for one in context.fronts[seed]["networks"]}
    budget, every = _curve(ends, total), max(round(total / _INTERVALS), 1)
    pruner = _pruner(net, splits["train"][0][:2], layerwise)
    optimizer = _optimizer(net, front)
    batches, flops, networks = _batches(run), 0.0, []
    whole = context.costs.macs(context.costs.whole)
    warm_up = front.optimizer.warmup_at * total
    for step in range(total):
        flops += _step(net, optimizer, run, next(batches), rate * min((step + 1) / warm_up, 1))
        limit = float(budget(jnp.int32(step))) * whole if step % every == 0 else whole
        if _macs(net, run) > limit:
            flops += _prune(net, pruner, run, batches, limit)
            optimizer = _optimizer(net, front)
        if step + 1 in ends:
            found = _branch(copy.deepcopy(net), run, batches)
            networks.append({"level": ends[step + 1], **found})
            flops += found["train_flops"]
    return {"networks": networks, "train_flops": flops}


def _tensors(context: Context, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    images = np.asarray(standardize(split.inputs, context.data)).transpose(0, 3, 1, 2)
    return torch.from_numpy(images.copy()), torch.from_numpy(np.asarray(split.targets, np.int64))


def _curve(ends: Mapping[int, float], total: int) -> schedule.Schedule:
    points, before = [(0, 1.0), (round(FIRST * total), 1.0)], FIRST * total
    for end, level in ends.items():
        points += [(round(end - _REST * (end - before)), level), (end, level)]
        before = end
    return schedule.log_linear(points)


def _pruner(net: Net, example: torch.Tensor, layerwise: bool) -> Any:
    return torch_pruning.pruner.BasePruner(
        net,
        example,
        torch_pruning.importance.GroupTaylorImportance(),
        global_pruning=not layerwise,
        pruning_ratio=1.0,
        max_pruning_ratio=15 / 16,
        iterative_steps=400,
        ignored_layers=[net.classifier],
    )


def _optimizer(net: Net, front: ConfigDict) -> torch.optim.Optimizer:
    own = front.optimizer
    return torch.optim.SGD(
        net.parameters(), lr=0.0, momentum=own.arguments.momentum, weight_decay=own.weight_decay
    )


def _batches(run: _Training) -> Iterator[np.ndarray]:
    """Yields the indices of each batch, epoch after epoch."""
    size = int(run.context.config.front.train.batch_size)
    for epoch in itertools.count():
        order = np.random.default_rng((run.seed, epoch)).permutation(len(run.splits["train"][0]))
        yield from order[: len(order) // size * size].reshape(-1, size)


def _loss(net: Net, run: _Training, batch: np.ndarray) -> torch.Tensor:
    images, labels = run.splits["train"]
    return functional.cross_entropy(net(images[batch]), labels[batch])


def _macs(net: Net, run: _Training) -> int:
    return int(run.context.costs.macs(net.widths()))


def _step(
    net: Net, optimizer: torch.optim.Optimizer, run: _Training, batch: np.ndarray, rate: float
) -> float:
    """Takes one step and returns its FLOPs."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    net.train()
    optimizer.zero_grad()
    _loss(net, run, batch).backward()
    optimizer.step()
    return train_flops(run.context, _macs(net, run), 1)


def _prune(
    net: Net, pruner: Any, run: _Training, batches: Iterator[np.ndarray], limit: float
) -> float:
    """Removes channels until the MACs are within the limit; returns the FLOPs of the gradients."""
    net.zero_grad()
    for batch in itertools.islice(batches, _SCORED):
        _loss(net, run, batch).backward()
    flops = train_flops(run.context, _macs(net, run), _SCORED)
    while _macs(net, run) > limit:
        pruner.step()
    return flops


def _branch(net: Net, run: _Training, batches: Iterator[np.ndarray]) -> dict[str, Any]:
    """Finishes training at a rate that decreases linearly to zero."""
    front, context = run.context.config.front, run.context
    optimizer, steps = _optimizer(net, front), front.branch_epochs * epoch_steps(context)
    flops = sum(
        _step(net, optimizer, run, next(batches), run.rate * (1 - step / steps))
        for step in range(steps)
    )
    errors = {
        f"{name}_error": round(100 * float(_errors(net, run.splits[split])), 4)
        for name, split in (("test", "test"), ("val", "validation"))
    }
    return described(context, net.widths()) | errors | {"train_flops": flops}


@torch.no_grad()
def _errors(net: Net, split: Sequence[torch.Tensor]) -> torch.Tensor:
    net.eval()
    images, labels = split
    wrong = [
        net(x).argmax(1) != y for x, y in zip(images.split(1000), labels.split(1000), strict=True)
    ]
    return torch.cat(wrong).float().mean()
