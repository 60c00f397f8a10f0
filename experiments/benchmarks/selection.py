"""Exact selection relative to a sort."""

import math
import statistics

import jax
import jax.numpy as jnp

from gpnas.masks import select

from .measure import Measurement, Options, by_backend, interleave, ratio, summary

_CPU, _ACCELERATOR = 0.1, 0.35  # a GPU sorts as fast as it reads
_MS = 1.0  # milliseconds of exact_top_k on an accelerator


def top_k_ratio(options: Options, size: int) -> Measurement:
    """Time to select the highest tenth of normal scores by `exact_top_k` over `argsort`."""
    name = f"top_k_ratio_{size // 1_000_000}m"
    size = size // 1000 if options.fast else size
    scores = jax.random.normal(jax.random.key(0), (size,))
    k, key = size // 10, jax.random.key(1)
    top_k, sort = jax.jit(select.exact_top_k), jax.jit(jnp.argsort)
    count = jax.jit(lambda scores: jnp.sum(select.exact_top_k(scores, k, key), dtype=jnp.int32))
    tied = jnp.where(jnp.arange(size) % 2 == 0, scores, 0.5)
    taken = interleave(
        {
            "exact_top_k": lambda: top_k(scores, k, key),
            "exact_top_k, half tied": lambda: top_k(tied, k, key),
            "argsort": lambda: sort(scores),
        },
        3,
    )
    counts = {
        "no ties": int(count(scores)),
        "half tied": int(count(tied)),
        "all tied": int(count(jnp.zeros(size))),
    }
    value = ratio(taken, "exact_top_k", "argsort")
    target, most = by_backend(_CPU, _ACCELERATOR), by_backend(math.inf, _MS)
    exact = all(found == k for found in counts.values())
    details = {"size": size, "k": k, "selected": counts} | summary(taken)
    fast = value <= target and 1e3 * statistics.median(taken["exact_top_k"]) <= most
    within = f" and {most:g} ms" if math.isfinite(most) else ""
    return Measurement(
        name, value, "exact_top_k / argsort", f"≤ {target}{within}, with exact counts",
        fast and exact, details,
    )  # fmt: skip
