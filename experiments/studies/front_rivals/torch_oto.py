"""Networks in PyTorch that OTO prunes while it trains them, one run for each level.

OTO's target is a fraction of channels, not of MACs. Which channels it removes is known when it has
pruned, after a fifth of a run. Therefore runs are stopped there and begun again with other targets
until one meets the level, and that one is finished.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from only_train_once import OTO
from only_train_once.operation import BASIC_MODULES

from experiments.studies.front_rivals.networks import Context, described, epoch_steps
from experiments.studies.front_rivals.space import Widths, next_kept
from experiments.studies.front_rivals.torch_training import (
    Net,
    Training,
    batches_of,
    errors_of,
    step,
    training,
    whole_net,
)

_START = 0.1  # fraction of a run before pruning, which OTO's tutorials recommend
_PRUNING = 0.1  # fraction of a run in which it prunes, as in the tutorial on CIFAR-10
_PERIODS = 10  # in which it prunes, as there


class _Begun(NamedTuple):
    """A run that has pruned; its further training does not change the widths.

    Attributes:
      net: The whole network; removed channels are zero.
      oto, optimizer: Those of the package.
      batches: Batches of its further training.
      sparsity: Its target, as a fraction of all channels.
      widths: Widths of the network without the removed channels.
      flops: Its training FLOPs until now.
    """

    net: Net
    oto: OTO
    optimizer: torch.optim.Optimizer
    batches: Iterator[np.ndarray]
    sparsity: float
    widths: Widths
    flops: float


def train_oto(context: Context, seed: int, rate: float) -> dict[str, Any]:
    """Trains a network for each level by OTO with its optimizer HESSO.

    Each run is as long as the main run of a front and a branch, with the same learning rates.
    HESSO trains the whole network and sets channels to zero by its default mixture of scores; the
    channels are cut out after training. The target of a run is chosen by `next_kept`.

    Args:
      context: Context of the study.
      seed: Seed of the initial weights and of the order of batches.
      rate: Learning rate.

    Returns:
      The networks, with the training FLOPs of all their runs, stopped ones included; and the
      versions of the packages.
    """
    run, whole = training(context, seed, rate), context.costs.whole
    known: dict[int, float] = {sum(whole): context.costs.macs(whole)}
    networks = []
    for level in context.config.front.front:
        with _adapted():
            found, tried = _at_level(run, level, known)
        networks.append({"level": level, **found})
        known |= tried
    return {
        "networks": networks,
        "train_flops": sum(one["train_flops"] for one in networks),
        "packages": {name: metadata.version(name) for name in ("torch", "only-train-once")},
    }


def _at_level(
    run: Training, level: float, known: Mapping[int, float]
) -> tuple[dict[str, Any], dict[int, float]]:
    """Returns the network of a level, and the MACs of its runs by number of kept channels."""
    costs = run.context.costs
    limit, begun = level * costs.macs(costs.whole), dict[int, _Begun]()
    tried: dict[int, float] = {}
    while (kept := next_kept({**known, **tried}, limit)) is not None:
        begun[kept] = _begin(run, kept)
        tried[kept] = costs.macs(begun[kept].widths)
    within = {n: macs for n, macs in {**known, **tried}.items() if macs <= limit}
    chosen = max(within, key=lambda kept: within[kept])
    if chosen not in begun:  # it was begun for another level
        begun[chosen] = _begin(run, chosen)
    found = _finish(run, begun[chosen])
    stopped = sum(one.flops for kept, one in begun.items() if kept != chosen)
    return {
        **found,
        "train_flops": found["train_flops"] + stopped,
        "target_group_sparsity": begun[chosen].sparsity,
        "tried": [
            {"target_group_sparsity": one.sparsity, **described(run.context, one.widths)}
            for one in begun.values()
        ],
    }, tried


def _begin(run: Training, kept: int) -> _Begun:
    """Trains until channels are removed."""
    front, net, channels = run.context.config.front, whole_net(run), sum(run.context.costs.whole)
    oto = OTO(net, torch.zeros_like(run.splits["train"][0][:1]))
    start, pruning = round(_START * _steps(run)), round(_PRUNING * _steps(run))
    sparsity = (channels - kept + 0.5) / channels  # rounded down by HESSO
    optimizer = oto.hesso(
        variant="sgd",
        lr=run.rate,
        first_momentum=front.optimizer.arguments.momentum,
        weight_decay=front.optimizer.weight_decay,
        target_group_sparsity=sparsity,
        start_pruning_step=start,
        pruning_steps=pruning,
        pruning_periods=min(_PERIODS, pruning),
    )
    batches = batches_of(run)
    flops = sum(
        step(net, optimizer, run, next(batches), _rate(run, number))
        for number in range(start + pruning)
    )
    return _Begun(net, oto, optimizer, batches, sparsity, _nonzero(net), flops)


def _finish(run: Training, begun: _Begun) -> dict[str, Any]:
    """Trains until the end and cuts the removed channels out."""
    net, steps = begun.net, _steps(run)
    done = round(_START * steps) + round(_PRUNING * steps)
    flops = begun.flops + sum(
        step(net, begun.optimizer, run, next(begun.batches), _rate(run, number))
        for number in range(done, steps)
    )
    with tempfile.TemporaryDirectory() as folder:
        begun.oto.construct_subnet(out_dir=folder)
    return described(run.context, net.widths()) | errors_of(net, run) | {"train_flops": flops}


def _steps(run: Training) -> int:
    front = run.context.config.front
    return (front.train.epochs + front.branch_epochs) * epoch_steps(run.context)


def _rate(run: Training, number: int) -> float:
    """Returns the learning rate of a step: as in the main run of a front, then as in a branch."""
    front, steps = run.context.config.front, _steps(run)
    main = front.train.epochs * epoch_steps(run.context)
    warm_up = front.optimizer.warmup_at * main
    return run.rate * min((number + 1) / warm_up, 1, (steps - number) / (steps - main))


def _nonzero(net: Net) -> Widths:
    """Returns the number of channels of each layer that are not removed."""
    return tuple(int(((norm.weight != 0) | (norm.bias != 0)).sum()) for norm in net.norms)


@contextlib.contextmanager
def _adapted() -> Iterator[None]:
    """Adapts OTO 3.0.1: it cuts the statistics of `BatchNorm1d` as those of `BatchNorm2d`, the only
    batch norm that it knows; it copies no mask to a GPU, since the network is not on one; and it
    prints nothing."""
    norm = mock.patch.dict(BASIC_MODULES, BatchNorm1d=BASIC_MODULES["BatchNorm2d"])
    stay = mock.patch.object(torch.Tensor, "cuda", lambda tensor: tensor)
    with norm, stay, contextlib.redirect_stdout(io.StringIO()):
        yield
