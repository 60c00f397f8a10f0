"""Unstructured masks on a CPU: what sparse matrices are worth against dense ones.

python -m gpnas.deploy.sparse < request.json
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse
from scipy.sparse import csr_array

from gpnas.deploy._latency import serve
from gpnas.timing import interleave

Layers = Sequence[np.ndarray]
Forward = Callable[[np.ndarray], Any]


def dense_numpy(kernels: Layers) -> Forward:
    """Dense layers with ReLU between them, by NumPy: `(batch, inputs) → (batch, outputs)`."""
    return _layers([lambda x, w=w: x @ w for w in kernels], np.maximum)


def dense_jax(kernels: Layers) -> Forward:
    """The same, jitted."""
    held = [jnp.asarray(w) for w in kernels]

    def forward(held: Any, x: Any) -> Any:
        return _layers([lambda x, w=w: x @ w for w in held], jnp.maximum)(x)

    call = jax.jit(forward)
    return lambda x: call(held, x)


def csr(kernels: Layers) -> Forward:
    """The same with kernels in compressed rows, by SciPy."""
    held = [csr_array(w.T) for w in kernels]

    def product(x: np.ndarray, w: Any) -> np.ndarray:
        return (w @ x[0])[None] if len(x) == 1 else (w @ x.T).T

    return _layers([lambda x, w=w: product(x, w) for w in held], np.maximum)


def bcsr(kernels: Layers) -> Forward:
    """The same with kernels in JAX's batched compressed rows, jitted."""
    held = [sparse.BCSR.fromdense(jnp.asarray(w.T)) for w in kernels]

    def forward(held: Any, x: Any) -> Any:
        return _layers([lambda x, w=w: (w @ x.T).T for w in held], jnp.maximum)(x)

    call = jax.jit(forward)
    return lambda x: call(held, x)


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
    """Random kernels, of which `density` of the entries, anywhere, are not zero; float32."""
    rng = np.random.default_rng(seed)
    kernels = []
    for shape in shapes:
        size = int(np.prod(shape))
        kernel = np.zeros(size, np.float32)
        alive = rng.permutation(size)[: max(1, round(density * size))]
        kernel[alive] = rng.normal(size=len(alive)) / np.sqrt(density * shape[0])
        kernels.append(kernel.reshape(shape))
    return kernels


def _answer(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each batch and density: milliseconds of each way, the shortest."""
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
