"""Step time of gpnas relative to PyTorch, for the same network on the same processor."""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from gpnas.data import Dataset
from gpnas.errors import how_to_install

from .measure import Measurement, Missing, Options, interleave, ratio, summary
from .subjects import BATCH, config_of, fashion_mnist, rows, trained

_THREADS = 2


def torch_ratio(options: Options, model: str, target: float) -> Measurement:
    """Step time of development over PyTorch's dense step (eager, two threads), SGD with momentum.

    The step of gpnas selects and scales its images; PyTorch gets prepared float batches.
    """
    name = f"torch_ratio_{model}"
    if importlib.util.find_spec("torch") is None:
        raise Missing(name, "no PyTorch", f"an installed one: {how_to_install('bench')}")
    import torch

    data = fashion_mnist(options)
    steps, rounds = (3, 2) if options.fast else (100, 20 if model == "lenet300" else 8)
    config = config_of(options, "development", model)
    ours, theirs = trained(config, data, steps), _torch_steps(data, model, steps)
    taken = interleave({"gpnas": ours, "torch": theirs}, rounds)
    value = ratio(taken, "gpnas", "torch")
    details = {
        "ratio_of_minima": min(taken["gpnas"]) / min(taken["torch"]),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "images": data.name,
        "batch": BATCH,
    }
    return Measurement(
        name, value, "gpnas step / PyTorch step", f"≤ {target}", value <= target,
        details | summary(taken, steps),
    )  # fmt: skip


def _torch_steps(data: Dataset, model: str, steps: int) -> Callable[[], Any]:
    import torch
    from torch import nn

    torch.set_num_threads(_THREADS)
    torch.manual_seed(0)
    networks = {
        "lenet300": lambda: [
            nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(),
            nn.Linear(100, 10),
        ],
        "lenet5": lambda: [
            nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
        ],
    }  # fmt: skip
    network = nn.Sequential(*networks[model]())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    loss = nn.CrossEntropyLoss()
    index = rows(data, steps)[0]
    pixels = [data.train.inputs[i].astype(np.float32).transpose(0, 3, 1, 2) for i in index]
    images = [torch.from_numpy((x / 255 - data.mean) / data.std).contiguous() for x in pixels]
    labels = [torch.from_numpy(data.train.targets[i].astype(np.int64)) for i in index]

    def run() -> None:
        for x, y in zip(images, labels, strict=True):
            optimizer.zero_grad()
            loss(network(x), y).backward()
            optimizer.step()

    return run
