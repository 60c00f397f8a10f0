"""Metrics at each log point, and the selection of the best network."""

import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.data import Split
from gpnas.masks import finite, summary
from gpnas.train._counters import Counters, active_steps
from gpnas.train._program import Program
from gpnas.train._state import TrainState
from gpnas.train._step import Metrics
from gpnas.train.task import Metric
from gpnas.units import UnitsState

_SLACK = 1.01  # networks within 1 % of the fewest active weights count as equally sparse


class HostCounters(NamedTuple):
    """Counters of a state on the host, by path; see `Counts`."""

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
        """Active fraction of the weights that may be masked."""
        return sum(self.active.values()) / max(sum(self.sizes.values()), 1)


class Counts(NamedTuple):
    """Counters of a state on the device.

    Attributes:
      step: () int32.
      active, grown, pruned: `{path: () int32}`.
      active_steps: `{path: () float32}`.
      skipped: () int32, steps whose gradients were not finite.
      units: `{group: () int32}`, active units, of a method that develops units.
    """

    step: jax.Array
    active: dict[str, jax.Array]
    grown: dict[str, jax.Array]
    pruned: dict[str, jax.Array]
    active_steps: dict[str, jax.Array]
    skipped: jax.Array
    units: dict[str, jax.Array]


@jax.jit
def _counts(masks: Any, mask_state: Any, counters: Counters, step: jax.Array) -> Counts:
    units = mask_state.units if isinstance(mask_state, UnitsState) else {}
    return Counts(
        jnp.copy(step),
        summary.active_counts(masks),
        counters.grown,
        counters.pruned,
        active_steps(counters, masks, step),
        finite.skipped(mask_state),
        {name: jnp.sum(mask) for name, mask in units.items()},
    )


def count(state: TrainState) -> Counts:
    """Copies the counters of a state into new buffers, without waiting for the device."""
    return _counts(state.masks, state.mask_state, state.counters, state.step)


def to_host(counts: Counts, sizes: dict[str, int]) -> HostCounters:
    """Fetches counts to the host in one transfer.

    Args:
      counts: Of a state.
      sizes: Weights by path.
    """
    counts = jax.device_get(counts)
    active, grown, pruned = ({p: int(n) for p, n in count.items()} for count in counts[1:4])
    summed = {p: float(n) for p, n in counts.active_steps.items()}
    units = {name: int(n) for name, n in counts.units.items()}
    skipped = int(counts.skipped)
    return HostCounters(int(counts.step), sizes, active, grown, pruned, summed, skipped, units)


def resume_counters(now: HostCounters, lines: Sequence[Mapping[str, Any]]) -> HostCounters:
    """Counters of a resumed run at its last metrics line.

    Mask changes made by `on_eval` after the last logged step are reported in the next line.

    Args:
      now: HostCounters of the restored state.
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
    """`(step, metric)` of the evaluations among the lines of a run."""
    evaluations = [line for line in lines if line["split"] == "validation"]
    return tuple((line["step"], line[metric.name]) for line in evaluations)


def train_line(
    before: HostCounters, now: HostCounters, sums: Metrics, metric: Metric
) -> dict[str, Any]:
    """The metrics line of the steps between two log points.

    Args:
      before, now: Counters at both.
      sums: Metrics summed over the steps between them.
      metric: The task's.
    """
    steps = now.step - before.step
    layers = {
        path: {
            "density": now.active[path] / size,
            "mean_density": (now.active_steps[path] - before.active_steps[path]) / (steps * size),
            "grown": now.grown[path] - before.grown[path],
            "pruned": now.pruned[path] - before.pruned[path],
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
    """The network of the best validation metric among the sparsest evaluated networks.

    Attributes:
      variables: Masked parameters and the model's other variables.
      value: () float32, the task's metric on the validation examples.
      nonzeros: () int32, active weights.
      step: () int32.
      fewest: () int32, fewest active weights of any evaluated network.
    """

    variables: Any
    value: jax.Array
    nonzeros: jax.Array
    step: jax.Array
    fewest: jax.Array


def no_selection(program: Program, state: TrainState) -> Selected:
    """The initial selection, which any network replaces."""
    most = jnp.int32(jnp.iinfo(jnp.int32).max)
    return Selected(
        program.network(state), jnp.float32(program.metric.worst), most, jnp.int32(0), most
    )


def evaluate_and_select(
    program: Program, state: TrainState, now: HostCounters, split: Split, best: Selected
) -> tuple[dict[str, Any], Selected]:
    """Evaluates a state on the validation examples, and selects it if it is the best.

    Only networks with the fewest active weights so far are candidates, so that gradual pruning is
    not judged by its denser networks.

    Returns:
      The metrics line, and the selected network.
    """
    variables = program.network(state)
    metrics = program.evaluate(variables, split)
    value = program.metric.reported(metrics[program.metric.name])
    nonzeros = sum(now.active.values())
    fewest = min(nonzeros, int(best.fewest))
    best = best._replace(fewest=jnp.int32(fewest))
    sparse, best_is_sparse = (n <= fewest * _SLACK for n in (nonzeros, int(best.nonzeros)))
    better = program.metric.improves(value, float(best.value))
    if sparse and (better or not best_is_sparse):
        numbers = jnp.float32(value), jnp.int32(nonzeros), jnp.int32(now.step)
        best = Selected(program.to_full_shape(variables), *numbers, best.fewest)
    own = {"loss": metrics["loss"], program.metric.name: value}
    return {"step": now.step, "split": "validation", **own}, best
