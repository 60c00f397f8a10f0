"""A front in PyTorch: the main run is pruned by Torch-Pruning, and branches finish training."""

import copy
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
import torch_pruning

from experiments.studies.front_rivals.networks import (
    FIRST,
    Context,
    described,
    epoch_steps,
    train_flops,
)
from experiments.studies.front_rivals.torch_training import (
    Net,
    Training,
    batches_of,
    errors_of,
    loss_of,
    macs_of,
    sgd,
    step,
    training,
    whole_net,
)
from gpnas.masks import schedule

_REST = 0.25  # fraction of the time between two levels with constant cost, as in `train_front`
_INTERVALS = 42  # times of pruning in the main run, as `method.every="auto"` has
_SCORED = 10  # batches whose gradients the Taylor score sums


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
    run, front = training(context, seed, rate), context.config.front
    net = whole_net(run)
    total = epoch_steps(context) * front.train.epochs
    ends = {one["step"]: one["level"] for one in context.fronts[seed]["networks"]}
    budget, every = _curve(ends, total), max(round(total / _INTERVALS), 1)
    pruner = _pruner(net, run.splits["train"][0][:2], layerwise)
    optimizer = sgd(net, front)
    batches, flops, networks = batches_of(run), 0.0, []
    whole = context.costs.macs(context.costs.whole)
    warm_up = front.optimizer.warmup_at * total
    for number in range(total):
        flops += step(net, optimizer, run, next(batches), rate * min((number + 1) / warm_up, 1))
        limit = float(budget(jnp.int32(number))) * whole if number % every == 0 else whole
        if macs_of(net, run) > limit:
            flops += _prune(net, pruner, run, batches, limit)
            optimizer = sgd(net, front)
        if number + 1 in ends:
            found = _branch(copy.deepcopy(net), run, batches)
            networks.append({"level": ends[number + 1], **found})
            flops += found["train_flops"]
    return {"networks": networks, "train_flops": flops}


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


def _prune(
    net: Net, pruner: Any, run: Training, batches: Iterator[np.ndarray], limit: float
) -> float:
    """Removes channels until the MACs are within the limit; returns the FLOPs of the gradients."""
    net.zero_grad()
    for batch in itertools.islice(batches, _SCORED):
        loss_of(net, run, batch).backward()
    flops = train_flops(run.context, macs_of(net, run), _SCORED)
    while macs_of(net, run) > limit:
        pruner.step()
    return flops


def _branch(net: Net, run: Training, batches: Iterator[np.ndarray]) -> dict[str, Any]:
    """Finishes training at a rate that decreases linearly to zero."""
    front, context = run.context.config.front, run.context
    optimizer, steps = sgd(net, front), front.branch_epochs * epoch_steps(context)
    flops = sum(
        step(net, optimizer, run, next(batches), run.rate * (1 - number / steps))
        for number in range(steps)
    )
    return described(context, net.widths()) | errors_of(net, run) | {"train_flops": flops}
