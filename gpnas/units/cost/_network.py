"""MACs per leaf, the cost of a masked network, and the cost of its training."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.masks import schedule, summary, tree
from gpnas.units.cost._op_counts import PRODUCTS, op_counts, padded_macs
from gpnas.units.graph import trace, trace_origins

_MANY = 2**20


class Cost(NamedTuple):
    """Cost of a masked network. MACs are per example; one MAC is two FLOPs.

    Attributes:
      params: Parameters, including biases and norm scales.
      weights: Weights that have a mask.
      nonzeros: Active weights.
      nonzeros_with_bias: Active weights, and all parameters without a mask.
      density: nonzeros / weights.
      inference_macs: MACs of the active weights, as an ideal sparse kernel would need; masks alone
        save none. Products without weights (attention scores) are fully included.
      inference_macs_dense: MACs of all weights, and of products without weights.
    """

    params: int
    weights: int
    nonzeros: int
    nonzeros_with_bias: int
    density: float
    inference_macs: int
    inference_macs_dense: int


class Macs(NamedTuple):
    """Multiply-accumulates (MACs) per example, by leaf.

    Attributes:
      per_weight: `{path of a leaf: MACs per weight of that leaf}`.
      others: MACs that masks of weights do not reduce: products of two activations (attention
        scores), and of an activation with an array computed from several leaves or from none.
    """

    per_weight: dict[str, float]
    others: int

    def total(self, params: Any) -> int:
        """Returns the total MACs for params or shapes, which may be narrower than when counted."""
        sizes = {p: math.prod(x.shape) for p, x in tree.leaves_by_path(params).items()}
        return round(sum(n * sizes[p] for p, n in self.per_weight.items())) + self.others


def macs(apply_fn: Callable[..., Any], variables: Any, *inputs: Any) -> Macs:
    """Counts the MACs of any function by leaf, from its jaxpr; nothing is computed.

    Counts matrix products, convolutions (including padding), and elementwise products of an
    activation with a weight. A weight may be reshaped, cast, sliced, standardized or stacked by
    `nn.scan` before it enters a product.

    Args:
      apply_fn: `(variables, *inputs) → anything`.
      variables: A pytree of arrays or shapes; leaves of two or more axes are weights.
      *inputs: Arrays or shapes of a single example.
    """
    traced = trace(apply_fn, variables, *inputs)
    leaves = traced.graph.ins[: len(traced.paths)]
    weights = {
        leaf.id: path
        for leaf, path in zip(leaves, traced.paths, strict=True)
        if len(leaf.shape) > 1
    }
    found, others = dict.fromkeys(weights.values(), 0), 0
    origins = trace_origins(traced)
    for counted in op_counts(traced.graph):
        first, *rest = (origins[x.id] for x in counted.op.ins)
        if counted.op.name not in (*PRODUCTS, "mul") or not rest:
            continue
        seen, fixed = (first, rest[0]) if first is None else (rest[0], first)
        entering = [weights[leaf] for leaf in fixed or () if leaf in weights]
        times = counted.repeats * padded_macs(counted.op)
        if seen is None and len(entering) == 1:
            found[entering[0]] += times
        elif counted.op.name in PRODUCTS:
            others += times
    sizes = {weights[leaf.id]: math.prod(leaf.shape) for leaf in leaves if leaf.id in weights}
    each = {p: n // sizes[p] if n % sizes[p] == 0 else n / sizes[p] for p, n in found.items() if n}
    return Macs(each, others)


def network_cost(params: Any, masks: Any, macs: Macs) -> Cost:
    """Computes the cost of a masked network.

    Args:
      params: Parameters or shapes.
      masks: Masks of the same structure.
      macs: MACs of the unmasked network.
    """
    whole = {p: math.prod(leaf.shape) for p, leaf in tree.leaves_by_path(params).items()}
    total, layers = sum(whole.values()), summary.layers(masks)
    weights = sum(math.prod(leaf.shape) for leaf in layers)
    active = {leaf.path: leaf.nonzeros for leaf in layers}
    nonzeros = sum(active.values())
    left = sum(n * active.get(path, whole[path]) for path, n in macs.per_weight.items())
    return Cost(
        total, weights, nonzeros, total - weights + nonzeros, nonzeros / max(weights, 1),
        round(left) + macs.others, macs.total(params),
    )  # fmt: skip


def training_macs(
    density: schedule.Schedule,
    dense_gradient: schedule.Schedule,
    steps: int,
    active_macs: schedule.Schedule | None = None,
) -> tuple[float, float]:
    """Computes the training MACs of a density schedule, relative to dense training.

    A training step costs a forward pass, the gradient of the activations and that of the weights.
    The first two use active weights only. The third is dense in the fraction of steps in which a
    score needs gradients of inactive weights. Per sample, dense training costs 3·f_D, and RigL
    (3·f_S·ΔT + 2·f_S + f_D) / (ΔT + 1).

    Args:
      density: `step → fraction of the weights that is active`, or of their cost if the allocation
        has a budget in cost.
      dense_gradient: `step → fraction of steps that need the dense gradient`.
      steps: Length of the run.
      active_macs: `step → fraction of the MACs that is active`; None: equal to the density.

    Returns:
      `(training MACs / those of dense training, mean density)`.
    """
    # Long runs are sampled at 2^20 equally spaced steps.
    at = jnp.arange(steps) if steps <= _MANY else jnp.linspace(0, steps - 1, _MANY).astype(int)

    def values(curve: schedule.Schedule) -> np.ndarray:
        # Not jitted: a program of each schedule would take longer to compile than it runs.
        return np.array(jax.vmap(curve)(at), np.float64)

    kept, dense = values(density), values(dense_gradient)
    active = kept if active_macs is None else values(active_macs)
    return float(np.mean((2 * active + dense + (1 - dense) * active) / 3)), float(np.mean(kept))
