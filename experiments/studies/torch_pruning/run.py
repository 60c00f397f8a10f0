"""Comparison with Torch-Pruning: the same residual net and weights, the same pruned channels."""

import functools
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.benchmarks.measure import interleave, require, summary
from gpnas import units
from gpnas.models import ResNet
from gpnas.provenance import provenance
from gpnas.records import append_line, records_path
from gpnas.units import score

THREADS = 2
BATCHES = (1, 64)


class Subject(NamedTuple):
    """A residual net of three stages for 32 × 32 images: depth 6·blocks + 2."""

    blocks: int
    width: int

    @property
    def name(self) -> str:
        """Name in the table."""
        return f"ResNet-{6 * self.blocks + 2}, {self.width} channels"


SUBJECTS = (Subject(3, 16), Subject(3, 64), Subject(9, 16))


def measure(config: ConfigDict, results: pathlib.Path) -> pathlib.Path:
    """Measures each network and appends its record.

    Args:
      config: `study`, and the arguments `rounds` and `compile` of `compare`.
      results: Records are appended to results/STUDY/records.jsonl.

    Raises:
      Missing: Without PyTorch or Torch-Pruning.
    """
    path = records_path(results, config.study)
    for subject in SUBJECTS:
        found = compare(subject, config.rounds, config.compile)
        path.parent.mkdir(parents=True, exist_ok=True)
        record = found | provenance()
        append_line(path, record)
        print(f"{subject.name}: done", flush=True)
    return path


def compare(subject: Subject, rounds: int = 20, compiled: bool = False) -> dict[str, Any]:
    """Halves all channels of a random net by weight magnitude, in both libraries.

    Args:
      subject: The net.
      rounds: Timed calls of each network; grouping and pruning are timed a tenth as often.
      compiled: Whether to also time `torch.compile`.

    Raises:
      Missing: Without PyTorch or Torch-Pruning.
    """
    require("bench", "torch", "torch_pruning")
    import torch
    import torch_pruning

    from experiments.studies.torch_pruning.torch_resnet import torch_resnet

    torch.set_num_threads(THREADS)
    module = ResNet(blocks=subject.blocks, width=subject.width)
    variables = _filled(module)
    images = np.random.default_rng(1).normal(size=(max(BATCHES), 32, 32, 3)).astype(np.float32)
    apply, tried = module.apply, max(3, rounds // 10)
    (groups, _, ((small_apply, small), masks)), our_times = _repeat(
        lambda: _halved(apply, variables, images[:1]), tried
    )
    (their_groups, _, pruned), their_times = _repeat(
        lambda: _halved_by_torch_pruning(torch_resnet(variables, subject.blocks)), tried
    )
    dense = torch_resnet(variables, subject.blocks)
    counts = units.cost_model(apply, variables, images[:1])
    macs = [int(units.total_cost(counts, own)) for own in (units.full_masks(groups), masks)]
    params = [sum(map(np.size, jax.tree.leaves(v["params"]))) for v in (variables, small)]
    example = torch.zeros(1, 3, 32, 32)
    count = functools.partial(torch_pruning.utils.count_ops_and_params, example_inputs=example)
    whole, left = map(count, (dense, pruned))
    networks = {"dense": (apply, variables), "pruned": (small_apply, small)}, {
        "dense": dense, "pruned": pruned,
    }  # fmt: skip
    return {
        "model": subject.name,
        "groups": {"gpnas": len(groups.groups), "torch_pruning": their_groups},
        "units": sum(group.size for group in groups.groups),
        **{
            f"{step}_s": {"gpnas": our_times[step], "torch_pruning": their_times[step]}
            for step in ("groups", "prune")
        },
        "params": {"gpnas": params, "torch_pruning": [whole[1], left[1]]},
        "macs": {"gpnas": macs, "torch_pruning": [int(whole[0]), int(left[0])]},
        "params_left": {"gpnas": params[1] / params[0], "torch_pruning": left[1] / whole[1]},
        "macs_left": {"gpnas": macs[1] / macs[0], "torch_pruning": left[0] / whole[0]},
        "largest_difference": _difference(networks, images),
        "latency": {
            str(batch): _latency(*networks, images[:batch], compiled, rounds) for batch in BATCHES
        },
        "threads": THREADS,
        "torch": torch.__version__,
        "torch_pruning": torch_pruning.__version__,
    }


def _halved(
    apply: Callable[..., Any], variables: Any, image: np.ndarray
) -> tuple[units.UnitGroups, dict[str, float], Any]:
    """Returns groups, times, and the pruned network with its masks, by gpnas."""
    begun = time.perf_counter()
    groups = units.discover(apply, variables, image)
    found = time.perf_counter()
    masks = smaller_half(groups, variables)
    small = units.compact(apply, variables, groups, masks, image)
    return groups, _spent(begun, found), (small, masks)


def _halved_by_torch_pruning(network: Any) -> tuple[int, dict[str, float], Any]:
    """Returns the number of groups, times, and the network, which is pruned in place."""
    import torch
    import torch_pruning

    example, ignored = torch.zeros(1, 3, 32, 32), [network["classifier"]]
    begun = time.perf_counter()
    graph = torch_pruning.DependencyGraph().build_dependency(network, example)
    groups = list(graph.get_all_groups(ignored_layers=ignored))
    found = time.perf_counter()
    importance = torch_pruning.importance.GroupMagnitudeImportance(
        p=2, target_types=[torch.nn.modules.conv._ConvNd, torch.nn.Linear]
    )
    pruner = torch_pruning.pruner.BasePruner(
        network, example, importance, pruning_ratio=0.5, ignored_layers=ignored
    )
    pruner.step()
    return len(groups), _spent(begun, found), network


def smaller_half(groups: units.UnitGroups, variables: Any) -> dict[str, np.ndarray]:
    """Returns masks that prune the half of each group's units with the smaller kernel L2 norms."""
    squares = jax.tree.map(
        lambda x: np.square(x) if np.ndim(x) > 1 else np.zeros_like(x), variables
    )
    masks = {}
    for name, value in score.sum_per_unit(groups, squares).items():
        masks[name] = np.zeros(len(value), bool)
        masks[name][np.argsort(np.asarray(value))[len(value) // 2 :]] = True
    return masks


def _filled(module: ResNet) -> Any:
    """Returns random weights, and statistics as in a network in training."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    random = np.random.default_rng(0)

    def leaf(x: jax.ShapeDtypeStruct) -> np.ndarray:
        if len(x.shape) < 2:
            return random.uniform(0.5, 1.5, x.shape).astype(np.float32)
        scale = np.sqrt(2 / np.prod(x.shape[:-1]))
        return (scale * random.normal(size=x.shape)).astype(np.float32)

    return jax.tree.map(leaf, shapes)


def _spent(begun: float, found: float) -> dict[str, float]:
    return {"groups": found - begun, "prune": time.perf_counter() - found}


def _repeat(what: Callable[[], tuple], times: int) -> tuple[tuple, dict[str, float]]:
    """Returns the last result, and the median of each of its times."""
    results = [what() for _ in range(times)]
    names = results[0][1]
    medians = {n: round(statistics.median(r[1][n] for r in results), 4) for n in names}
    return results[-1], medians


def _difference(networks: tuple[Mapping[str, Any], Mapping[str, Any]], images: np.ndarray) -> float:
    """Returns the largest difference between the libraries' outputs, relative to the largest
    output."""
    import torch

    worst, channels_first = 0.0, torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    for name, (apply, variables) in networks[0].items():
        with torch.no_grad():
            worst = max(
                worst,
                units.relative_difference(
                    apply(variables, images), networks[1][name](channels_first)
                ),
            )
    return worst


def _latency(
    ours: Mapping[str, tuple[Callable[..., Any], Any]],
    theirs: Mapping[str, Any],
    images: np.ndarray,
    compiled: bool,
    rounds: int,
) -> dict[str, Any]:
    """Times each network in turn, in milliseconds."""
    import torch

    x, y = jnp.asarray(images), torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    calls: dict[str, Callable[[], Any]] = {}
    for name, (apply, variables) in ours.items():
        calls[f"gpnas {name}"] = functools.partial(jax.jit(apply), jax.device_put(variables), x)
    for name, network in theirs.items():
        calls[f"torch {name}"] = functools.partial(network, y)
        if compiled:
            calls[f"torch.compile {name}"] = functools.partial(torch.compile(network), y)
    with torch.inference_mode():
        return summary(interleave(calls, rounds))
