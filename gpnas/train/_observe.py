"""Metrics at each log point, and selection of the best network."""

import functools
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpnas._jit_once import jit_once
from gpnas.masks import finite, summary
from gpnas.train._counters import Counters, active_steps
from gpnas.train._program import Program
from gpnas.train._state import TrainState
from gpnas.train._step import Metrics
from gpnas.train.task import Metric
from gpnas.units import UnitsState

_WRAP = 2**32  # counts on the device are exact modulo this
_SLACK = 1.01  # networks within 1 % of the fewest active weights count as equally sparse


class HostCounters(NamedTuple):
    """Counters of a state on the host, by path; see `DeviceCounters`."""

    step: int
    sizes: dict[str, int]
    active: dict[str, int]
    grown: dict[str, int]
    pruned: dict[str, int]
    active_steps: dict[str, float]
    skipped: int = 0
    units: Mapping[str, int] = types.MappingProxyType({})

    @property
    def density(self) -> float:
        """Active fraction of the masked weights."""
        return sum(self.active.values()) / max(sum(self.sizes.values()), 1)


class DeviceCounters(NamedTuple):
    """Counters of replicas on the device, in two arrays, so that few arrays are fetched.

    Attributes:
      ints: (replicas, …) int32: step, skipped steps, then active, grown and pruned weights by path,
        then active units by group.
      floats: (replicas, 1 + 2 · leaves) float32: 0, then active-weight counts by path, summed over
        the steps, then the rounding errors of these sums.
    """

    ints: Any
    floats: Any


@functools.partial(jit_once, static_argnums=4)
def _counts(
    masks: Any, mask_state: Any, counters: Counters, step: jax.Array, many: bool
) -> DeviceCounters:
    def one(masks: Any, mask_state: Any, counters: Counters) -> DeviceCounters:
        active = summary.active_counts(masks)
        changed = [counts[path] for counts in (counters.grown, counters.pruned) for path in active]
        units = [jnp.sum(units_of(mask_state)[name]) for name in sorted(units_of(mask_state))]
        summed = active_steps(counters, masks, step)
        ints = [step, finite.skipped(mask_state), *active.values(), *changed, *units]
        return DeviceCounters(
            jnp.stack([jnp.int32(n) for n in ints]),
            jnp.stack([jnp.float32(0), *(part[path] for part in summed for path in active)]),
        )

    if many:
        return jax.vmap(one)(masks, mask_state, counters)
    return jax.tree.map(lambda x: x[None], one(masks, mask_state, counters))


def units_of(mask_state: Any) -> Mapping[str, Any]:
    """Returns `{group: (size,) bool}` if the method develops units, else `{}`."""
    return mask_state.units if isinstance(mask_state, UnitsState) else {}


def copy_counters(state: TrainState, replicas: int = 1) -> DeviceCounters:
    """Copies the counters of a state, or of stacked replicas, to new buffers; does not block."""
    return _counts(state.masks, state.mask_state, state.counters, state.step, replicas > 1)


def to_host(
    counts: DeviceCounters, replica: int, sizes: dict[str, int], units: Iterable[str]
) -> HostCounters:
    """Returns the counts of a replica by name.

    Args:
      counts: Counts on the host.
      replica: Index of the replica.
      sizes: Number of weights by path.
      units: Names of groups of units.
    """
    step, skipped, *ints = (int(n) for n in counts.ints[replica])
    n = len(sizes)
    active, grown, pruned = (
        dict(zip(sizes, ints[i * n : (i + 1) * n], strict=True)) for i in range(3)
    )
    sums = np.asarray(counts.floats[replica][1:], np.float64).reshape(2, n).sum(0)
    summed = dict(zip(sizes, sums.tolist(), strict=True))
    named = dict(zip(sorted(units), ints[3 * n :], strict=True))
    return HostCounters(step, sizes, active, grown, pruned, summed, skipped, named)


def resume_counters(now: HostCounters, lines: Sequence[Mapping[str, Any]]) -> HostCounters:
    """Returns the counters of a resumed run at its last metrics line.

    Mask changes made by `on_eval` after the last logged step are reported in the next line.

    Args:
      now: Counters of the restored state.
      lines: Metrics lines of the run up to its step.
    """
    layers = [line["layers"] for line in lines if line["split"] == "train"]
    grown, pruned = (
        {path: sum(layer[path][name] for layer in layers) for path in now.sizes}
        for name in ("grown", "pruned")
    )
    return now._replace(grown=grown, pruned=pruned)


def validation_values(
    lines: Sequence[Mapping[str, Any]], metric: Metric
) -> tuple[tuple[int, float], ...]:
    """Returns `(step, metric)` of the evaluations among the lines of a run."""
    evaluations = [line for line in lines if line["split"] == "validation"]
    return tuple((line["step"], line[metric.name]) for line in evaluations)


def train_line(
    before: HostCounters, now: HostCounters, sums: Metrics, metric: Metric
) -> dict[str, Any]:
    """Returns the metrics line of the steps between two log points.

    Args:
      before, now: Counters at both points.
      sums: Metrics summed over the steps between them.
      metric: Metric of the task.
    """
    steps = now.step - before.step
    layers = {
        path: {
            "density": now.active[path] / size,
            "mean_density": (now.active_steps[path] - before.active_steps[path]) / (steps * size),
            "grown": (now.grown[path] - before.grown[path]) % _WRAP,
            "pruned": (now.pruned[path] - before.pruned[path]) % _WRAP,
        }
        for path, size in now.sizes.items()
    }
    return {
        "step": now.step,
        "split": "train",
        "loss": float(sums["loss"]) / steps,
        metric.name: metric.reported(float(sums[metric.name] / steps)),
        "density": now.density,
        "grown": sum(layer["grown"] for layer in layers.values()),
        "pruned": sum(layer["pruned"] for layer in layers.values()),
        "skipped": now.skipped,
        "layers": layers,
        **({"units": dict(now.units)} if now.units else {}),
    }


class Selected(NamedTuple):
    """The network with the best validation metric among the sparsest evaluated networks.

    Attributes:
      variables: Masked parameters and the model's other variables; the others are on the host.
      value: () float32, the task's metric on the validation examples.
      nonzeros: () int32, active weights.
      step: () int32, step of the evaluation.
      fewest: () int32, fewest active weights of any evaluated network.
    """

    variables: Any
    value: np.ndarray
    nonzeros: np.ndarray
    step: np.ndarray
    fewest: np.ndarray


def no_selections(program: Program, states: list[TrainState]) -> list[Selected]:
    """Returns the initial selection of each state, which any network replaces."""
    worst, most = np.asarray(program.metric.worst, np.float32), _int32(np.iinfo(np.int32).max)
    return [Selected(own, worst, most, _int32(0), most) for own in program.networks(states)]


def _int32(number: int) -> np.ndarray:
    return np.asarray(number, np.int32)


def select_best(
    program: Program,
    variables: Any,
    metrics: Mapping[str, float],
    now: HostCounters,
    best: Selected,
) -> tuple[dict[str, Any], Selected]:
    """Selects an evaluated network if it is the best.

    Only networks with the fewest active weights so far are candidates, so that gradual pruning does
    not select one of its denser networks.

    Args:
      program: Program of the run.
      variables: Variables of the network.
      metrics: Its metrics on the validation set.
      now: Counters of its state.
      best: The current selection.

    Returns:
      The metrics line, and the selected network.
    """
    value = program.metric.reported(metrics[program.metric.name])
    nonzeros = sum(now.active.values())
    fewest = min(nonzeros, int(best.fewest))
    best = best._replace(fewest=_int32(fewest))
    sparse, best_is_sparse = (n <= fewest * _SLACK for n in (nonzeros, int(best.nonzeros)))
    stored = np.asarray(value, np.float32)  # the first of equal values is kept
    better = program.metric.improves(float(stored), float(best.value))
    if sparse and (better or not best_is_sparse):
        numbers = stored, _int32(nonzeros), _int32(now.step)
        best = Selected(program.to_full_shape(variables), *numbers, best.fewest)
    own = {"loss": metrics["loss"], program.metric.name: value}
    return {"step": now.step, "split": "validation", **own}, best
