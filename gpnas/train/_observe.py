"""What is observed while training: a line of numbers at each log point, and the best network."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.data import Split
from gpnas.masks import finite, summary
from gpnas.train._counters import Survey, lived
from gpnas.train._program import Program
from gpnas.train._state import TrainState
from gpnas.train._step import Metrics

_SLACK = 1.01  # networks within 1 % of the fewest living weights count as equally sparse


class Tally(NamedTuple):
    """Counts of a state on the host, by path: living, woken, dropped, lived; steps skipped."""

    step: int
    sizes: dict[str, int]
    living: dict[str, int]
    woken: dict[str, int]
    dropped: dict[str, int]
    lived: dict[str, float]
    skipped: int = 0

    @property
    def density(self) -> float:
        """Living fraction of all the maskable weights."""
        return sum(self.living.values()) / max(sum(self.sizes.values()), 1)


class Counts(NamedTuple):
    """What a tally is made from: small arrays, on the device until they are needed.

    Attributes:
      step: () int32.
      living, woken, dropped: `{path: () int32}`.
      lived: `{path: () float32}`.
      skipped: () int32, steps whose gradients were not finite.
    """

    step: jax.Array
    living: dict[str, jax.Array]
    woken: dict[str, jax.Array]
    dropped: dict[str, jax.Array]
    lived: dict[str, jax.Array]
    skipped: jax.Array


@jax.jit
def _counts(masks: Any, mask_state: Any, survey: Survey, step: jax.Array) -> Counts:
    return Counts(
        jnp.copy(step),
        summary.active_counts(masks),
        survey.woken,
        survey.dropped,
        lived(survey, masks, step),
        finite.skipped(mask_state),
    )


def count(state: TrainState) -> Counts:
    """Counts of a state, in memory of their own; does not wait for them."""
    return _counts(state.masks, state.mask_state, state.survey, state.step)


def tally(counts: Counts, sizes: dict[str, int]) -> Tally:
    """Counts on the host, in one small transfer.

    Args:
      counts: Of a state.
      sizes: Weights by path.
    """
    counts = jax.device_get(counts)
    living, woken, dropped = ({p: int(n) for p, n in count.items()} for count in counts[1:4])
    summed = {p: float(n) for p, n in counts.lived.items()}
    return Tally(int(counts.step), sizes, living, woken, dropped, summed, int(counts.skipped))


def resumed(now: Tally, lines: Sequence[Mapping[str, Any]]) -> Tally:
    """The tally of a run that goes on, where its lines end.

    Mask changes made by `on_eval` after the last logged step are reported in the next line.

    Args:
      now: Tally of the restored state.
      lines: Those of the run up to its step.
    """
    layers = [line["layers"] for line in lines if line["split"] == "train"]
    woken, dropped = (
        {path: sum(layer[path][name] for layer in layers) for path in now.sizes}
        for name in ("grown", "pruned")
    )
    return now._replace(woken=woken, dropped=dropped)


def percent(fraction: Any) -> float:
    """A fraction as a percentage, to four places."""
    return round(100 * float(fraction), 4)


def train_line(before: Tally, now: Tally, sums: Metrics) -> dict[str, Any]:
    """The line of metrics between two log points.

    Args:
      before, now: Tallies at both.
      sums: Loss and error summed over the steps between them.
    """
    steps = now.step - before.step
    layers = {
        path: {
            "density": now.living[path] / size,
            "mean_density": (now.lived[path] - before.lived[path]) / (steps * size),
            "grown": now.woken[path] - before.woken[path],
            "pruned": now.dropped[path] - before.dropped[path],
        }
        for path, size in now.sizes.items()
    }
    return {
        "step": now.step,
        "split": "train",
        "loss": float(sums.loss) / steps,
        "error": percent(sums.error / steps),
        "density": now.density,
        "grown": sum(layer["grown"] for layer in layers.values()),
        "pruned": sum(layer["pruned"] for layer in layers.values()),
        "skipped": now.skipped,
        "layers": layers,
    }


class Selected(NamedTuple):
    """The network with the lowest validation error so far, among those as sparse as it gets.

    Attributes:
      variables: Masked parameters and the model's other variables.
      error: () float32, validation error in %.
      nonzeros: () int32, active weights.
      step: () int32.
      fewest: () int32, fewest active weights of any evaluated network.
    """

    variables: Any
    error: jax.Array
    nonzeros: jax.Array
    step: jax.Array
    fewest: jax.Array


def unselected(program: Program, state: TrainState) -> Selected:
    """Initial selection, with infinite validation error."""
    most = jnp.int32(jnp.iinfo(jnp.int32).max)
    return Selected(program.network(state), jnp.float32(jnp.inf), most, jnp.int32(0), most)


def look(
    program: Program, state: TrainState, now: Tally, split: Split, best: Selected
) -> tuple[dict[str, Any], Selected]:
    """Evaluates a state on the validation images, and keeps it if it is the best.

    Only networks as sparse as the sparsest so far compete, so that gradual pruning is not judged by
    what it was before the pruning.

    Returns:
      The line of metrics, and what is selected now.
    """
    variables = program.network(state)
    metrics = program.evaluate(variables, split)
    error, nonzeros = percent(metrics.error), sum(now.living.values())
    fewest = min(nonzeros, int(best.fewest))
    best = best._replace(fewest=jnp.int32(fewest))
    sparse, best_is_sparse = (n <= fewest * _SLACK for n in (nonzeros, int(best.nonzeros)))
    if sparse and (error < float(best.error) or not best_is_sparse):
        numbers = jnp.float32(error), jnp.int32(nonzeros), jnp.int32(now.step)
        best = Selected(program.whole(variables), *numbers, best.fewest)
    line = {"step": now.step, "split": "validation", "loss": float(metrics.loss), "error": error}
    return line, best
