"""Cost: parameters, multiply-accumulates (MACs) and training FLOPs, by shapes and schedules."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.masks import summary
from gpnas.masks.schedule import Schedule
from gpnas.masks.tree import path_name
from gpnas.units.cost._op_counts import PRODUCTS, all_work, padded_macs
from gpnas.units.graph._origins import origins_of
from gpnas.units.graph._trace import trace

_MANY = 2**20


class Cost(NamedTuple):
    """What a masked network costs. MACs are for one image; one MAC is two FLOPs.

    Attributes:
      params: Parameters, biases and norm scales included.
      weights: Maskable weights.
      nonzeros: Living weights.
      nonzeros_with_bias: Living weights and all parameters that cannot be masked.
      density: nonzeros / weights.
      inference_macs: MACs of the living weights: what a perfect sparse kernel would do. Masks alone
        save none of it. Products without weights (attention scores) are included in full.
      inference_macs_dense: MACs of all the weights, and of products without weights.
    """

    params: int
    weights: int
    nonzeros: int
    nonzeros_with_bias: int
    density: float
    inference_macs: int
    inference_macs_dense: int


class Macs(NamedTuple):
    """Multiply-accumulates (MACs) of one image, by what a mask can save of them.

    Attributes:
      per_weight: `{path of a leaf: MACs in which each of its weights takes part}`.
      others: MACs that no mask over weights reduces: products of activations with each other
        (attention scores), and with arrays that are made of several leaves or of none.
    """

    per_weight: dict[str, float]
    others: int

    def total(self, params: Any) -> int:
        """All MACs, of parameters (or their shapes) that may be narrower than they were counted."""
        sizes = {p: math.prod(x.shape) for p, x in _leaves(params).items()}
        return round(sum(n * sizes[p] for p, n in self.per_weight.items())) + self.others


def macs(apply_fn: Callable[..., Any], variables: Any, *inputs: Any) -> Macs:
    """The MACs of any function, found in its jaxpr; nothing is computed.

    Counted are matrix products and convolutions (products with padding included), and elementwise
    products of an activation with a weight. A weight may be reshaped, cast, sliced, standardised or
    stacked by `nn.scan` on its way into a product.

    Args:
      apply_fn: `(variables, *inputs) → anything`.
      variables: A pytree of arrays or their shapes; leaves of two or more axes are weights.
      *inputs: Those of one image.
    """
    traced = trace(apply_fn, variables, *inputs)
    leaves = traced.program.ins[: len(traced.paths)]
    weights = {
        leaf.id: path
        for leaf, path in zip(leaves, traced.paths, strict=True)
        if len(leaf.shape) > 1
    }
    found, others = dict.fromkeys(weights.values(), 0), 0
    origins = origins_of(traced)
    for work in all_work(traced.program):
        first, *rest = (origins[x.id] for x in work.step.ins)
        if work.step.name not in (*PRODUCTS, "mul") or not rest:
            continue
        seen, fixed = (first, rest[0]) if first is None else (rest[0], first)
        entering = [weights[leaf] for leaf in fixed or () if leaf in weights]
        times = work.turns * padded_macs(work.step)
        if seen is None and len(entering) == 1:
            found[entering[0]] += times
        elif work.step.name in PRODUCTS:
            others += times
    sizes = {weights[leaf.id]: math.prod(leaf.shape) for leaf in leaves if leaf.id in weights}
    return Macs({p: _ratio(n, sizes[p]) for p, n in found.items() if n}, others)


def network_cost(params: Any, masks: Any, macs: Macs) -> Cost:
    """The cost of a network as its masks leave it.

    Args:
      params: Parameters (or their shapes).
      masks: Masks of the same structure.
      macs: Those of the network.
    """
    whole = {p: math.prod(leaf.shape) for p, leaf in _leaves(params).items()}
    total, layers = sum(whole.values()), summary.layers(masks)
    weights = sum(math.prod(leaf.shape) for leaf in layers)
    active = {leaf.path: leaf.nonzeros for leaf in layers}
    alive = sum(active.values())
    left = sum(n * active.get(path, whole[path]) for path, n in macs.per_weight.items())
    return Cost(
        total, weights, alive, total - weights + alive, alive / max(weights, 1),
        round(left) + macs.others, macs.total(params),
    )  # fmt: skip


def _leaves(tree: Any) -> dict[str, Any]:
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _ratio(total: int, size: int) -> float:
    return total // size if total % size == 0 else total / size


def training_macs(density: Schedule, dense_gradient: Schedule, steps: int) -> tuple[float, float]:
    """Training MACs of a schedule as a fraction of dense training's, and the mean density.

    A step costs a forward pass, the gradient of the activations and that of the weights. The first
    two use the living weights; the third is dense in the fraction of steps where a score looks at
    dormant weights too: dense training is 3·f_D a sample, RigL (3·f_S·ΔT + 2·f_S + f_D) / (ΔT + 1).

    Args:
      density: Living fraction of the MACs at a step.
      dense_gradient: Fraction of steps around a step that need the dense gradient.
      steps: Length of the run.

    Returns:
      `(fraction, mean density)`.
    """
    # Of a very long run, a million steps of equal distance stand for all.
    at = jnp.arange(steps) if steps <= _MANY else jnp.linspace(0, steps - 1, _MANY).astype(int)
    alive = np.array(jax.vmap(density)(at), np.float64)
    dense = np.array(jax.vmap(dense_gradient)(at), np.float64)
    return float(np.mean((2 * alive + dense + (1 - dense) * alive) / 3)), float(np.mean(alive))
