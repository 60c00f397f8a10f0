"""Latency of dense and sparse matrices for layers with unstructured masks, on a CPU.

python -m experiments.studies.deploy.sparse < request.json
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse
from scipy.sparse import csr_array

from gpnas.deploy import serve
from gpnas.timing import interleave

Layers = Sequence[np.ndarray]
Forward = Callable[[np.ndarray], Any]


def dense_numpy(kernels: Layers) -> Forward:
    """NumPy's dense layers with ReLU between them: `(batch, inputs) → (batch, outputs)`."""
    return _layers([lambda x, w=w: x @ w for w in kernels], np.maximum)


def dense_jax(kernels: Layers) -> Forward:
    """JAX's dense layers, jitted."""
    arrays = [jnp.asarray(w) for w in kernels]

    def forward(arrays: Any, x: Any) -> Any:
        return _layers([lambda x, w=w: x @ w for w in arrays], jnp.maximum)(x)

    call = jax.jit(forward)
    return lambda x: call(arrays, x)


def csr(kernels: Layers) -> Forward:
    """SciPy's layers in compressed sparse row format."""
    arrays = [csr_array(w.T) for w in kernels]

    def product(x: np.ndarray, w: Any) -> np.ndarray:
        return (w @ x[0])[None] if len(x) == 1 else (w @ x.T).T

    return _layers([lambda x, w=w: product(x, w) for w in arrays], np.maximum)


def bcsr(kernels: Layers) -> Forward:
    """JAX's layers in batched compressed sparse row format, jitted."""
    arrays = [sparse.BCSR.fromdense(jnp.asarray(w.T)) for w in kernels]

    def forward(arrays: Any, x: Any) -> Any:
        return _layers([lambda x, w=w: (w @ x.T).T for w in arrays], jnp.maximum)(x)

    call = jax.jit(forward)
    return lambda x: call(arrays, x)


WAYS: Mapping[str, Callable[[Layers], Forward]] = {
    "dense, NumPy": dense_numpy,
    "dense, JAX": dense_jax,
    "CSR, SciPy": csr,
    "BCSR, JAX": bcsr,
}


def _layers(products: Sequence[Callable], maximum: Callable) -> Forward:
    def forward(x: Any) -> Any:
        for product in products[:-1]:
            x = maximum(product(x), 0)
        return products[-1](x)

    return forward


def pruned(shapes: Sequence[Sequence[int]], density: float, seed: int) -> list[np.ndarray]:
    """Returns random float32 kernels with a fraction `density` of nonzero entries."""
    rng = np.random.default_rng(seed)
    kernels = []
    for shape in shapes:
        size = int(np.prod(shape))
        kernel = np.zeros(size, np.float32)
        active = rng.permutation(size)[: max(1, round(density * size))]
        kernel[active] = rng.normal(size=len(active)) / np.sqrt(density * shape[0])
        kernels.append(kernel.reshape(shape))
    return kernels


def _answer(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns one row per batch size and density: the shortest time in ms of each
    implementation."""
    rows = []
    for density in request["densities"]:
        kernels = pruned(request["shapes"], density, request["seed"])
        ways = {name: make(kernels) for name, make in WAYS.items()}
        for batch in request["batches"]:
            x = np.random.default_rng(0).normal(size=(batch, len(kernels[0])))
            images = x.astype(np.float32)
            expected = ways["dense, NumPy"](images)
            calls = {name: _call(way, images) for name, way in ways.items()}
            apart = max(float(np.abs(call() - expected).max()) for call in calls.values())
            taken = interleave(calls, request["rounds"])
            ms = {name: 1000 * min(times) for name, times in taken.items()}
            rows.append({"density": density, "batch": batch, "ms": ms, "max_difference": apart})
    return rows


def _call(way: Forward, images: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: np.asarray(way(images))


if __name__ == "__main__":
    serve(_answer)
