"""Zero-cost proxies: scores that predict accuracy without training (higher is better).

A proxy is a function `(apply, params, images, labels) → () float32`, where `apply(params, images)`
returns logits in training mode. So the networks of a space can be separate modules, or one
supernet, compiled once::

    @jax.jit
    def measured(params, operations):
        def apply(params, images):
            return supernet.apply({"params": params}, images, operations, train=True)

        return measure(apply, names, params, images, labels)

`apply` must not be jitted: layers are observed or left out while it is traced.
"""

from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from experiments.studies.supernet201 import BatchStatisticsNorm
from gpnas import plugins, units
from gpnas.errors import UserError
from gpnas.masks import init_masks, masked_leaves
from gpnas.models import ReLU

#: `(params, images) → logits`, in training mode.
Apply = Callable[[Any, jax.Array], jax.Array]
#: `(apply, params, images, labels) → () float32`.
Proxy = Callable[[Apply, Any, jax.Array, jax.Array], jax.Array]
_NORMS = nn.BatchNorm | nn.LayerNorm | nn.GroupNorm | nn.RMSNorm | BatchStatisticsNorm


def kernels(params: Any) -> list[jax.Array]:
    """Returns the leaves that proxies sum over: weights of two axes or more, no biases or norms."""
    return list(masked_leaves(init_masks(params), params).values())


def grad_norm(apply: Apply, params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Computes Σ_l ‖∂L/∂W_l‖₂ over kernels, of the mean cross-entropy of the batch.

    Args:
      apply: `(params, images) → (batch, classes)` logits, for all proxies in this module.
      params: Parameters.
      images: (batch, height, width, channels).
      labels: (batch,) int.

    Returns:
      () float32, for all proxies in this module.

    References:
      Abdelfattah et al. 2021, Zero-cost proxies for lightweight NAS (arXiv:2101.08134), section 3.
    """
    grads = _gradient(apply, params, images, labels)
    return sum((jnp.linalg.norm(g.ravel()) for g in kernels(grads)), jnp.float32(0))


def snip(apply: Apply, params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Computes `Σ |w · ∂L/∂w|` over kernels.

    References:
      Lee et al. 2019, SNIP (arXiv:1810.02340), equation 6; summed up in arXiv:2101.08134, equation
      1.
    """
    grads = _gradient(apply, params, images, labels)
    pairs = zip(kernels(params), kernels(grads), strict=True)
    return sum((jnp.sum(jnp.abs(w * g)) for w, g in pairs), jnp.float32(0))


def _gradient(apply: Apply, params: Any, images: jax.Array, labels: jax.Array) -> Any:
    def loss(params: Any) -> jax.Array:
        logits = apply(params, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return jax.grad(loss)(params)


def synflow(apply: Apply, params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Computes `log Σ w · ∂R/∂w` over kernels; R: sum of logits of `|W|` on an image of ones.

    Norms are left out and biases are zero, so R is proportional to the image. R may exceed float32
    (up to 10⁶⁰ or so), so only its logarithm is computed: first from an image of 2⁻¹⁰⁰, then from
    gradients with image and output each scaled by R^-½. -inf if no path reaches the output.

    References:
      Tanaka et al. 2020, SynFlow (arXiv:2006.05467), equation 3; summed up, and without batch norm,
      in arXiv:2101.08134, section 3.
    """
    del labels
    weights = jax.tree.map(lambda w: jnp.abs(w) if w.ndim > 1 else jnp.zeros_like(w), params)

    def total(weights: Any, pixel: jax.Array | float) -> jax.Array:
        with nn.intercept_methods(_leave_out_norms):
            return jnp.sum(apply(weights, jnp.full_like(images[:1], pixel)))

    pixel = 2.0**-100
    found = total(weights, pixel)
    size = jnp.log(found) - jnp.log(pixel)
    root = jnp.where(found > 0, jnp.exp(-size / 2), 0)
    flows = jax.grad(lambda weights: root * total(weights, root))(weights)
    pairs = zip(kernels(weights), kernels(flows), strict=True)
    return jnp.log(sum((jnp.sum(w * g) for w, g in pairs), jnp.float32(0))) + size


def _leave_out_norms(
    call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext
) -> Any:
    norm = context.method_name == "__call__" and isinstance(context.module, _NORMS)
    return args[0] if norm else call(*args, **kwargs)


def nwot(apply: Apply, params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Computes `log |det K|`; `K_ij` counts ReLUs that are equally on or off for images i and j.

    ReLUs are the layers `gpnas.models.ReLU`; in a supernet, each is weighted by its use. -inf if
    some images have the same code.

    Raises:
      UserError: For a network without such layers.

    References:
      Mellor et al. 2021, Neural Architecture Search without Training (arXiv:2006.04647v3),
      equations 2 and 3.
    """
    del labels
    agreements = []

    def watch(
        call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext
    ) -> Any:
        if context.method_name == "__call__" and isinstance(context.module, ReLU):
            on = (args[0] > 0).reshape(len(images), -1).astype(jnp.float32)
            agreements.append(kwargs.get("used", 1.0) * (on @ on.T + (1 - on) @ (1 - on).T))
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        apply(params, images)
    if not agreements:
        raise UserError("proxy", "nwot", "others, for a network without gpnas.models.ReLU")
    return jnp.linalg.slogdet(sum(agreements))[1]


def jacov(apply: Apply, params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Computes −Σ_i [log(σ_i + k) + 1/(σ_i + k)], σ the spectrum of correlations between Jacobians.

    An image's Jacobian is the gradient of the sum of all logits with respect to it; k = 10⁻⁵. -inf
    if that of some image is constant.

    References:
      Mellor et al. 2020 (arXiv:2006.04647v1), section 3; as *jacob_cov* in arXiv:2101.08134.
    """
    del labels
    jacobian = jax.grad(lambda x: jnp.sum(apply(params, x)))(images).reshape(len(images), -1)
    jacobian -= jacobian.mean(1, keepdims=True)
    sizes = jnp.linalg.norm(jacobian, axis=1, keepdims=True)
    # Singular values are more accurate than eigenvalues of the product.
    roots = jnp.linalg.svd(jacobian / sizes, compute_uv=False)
    spectrum = jnp.zeros(len(images)).at[: len(roots)].set(roots**2) + 1e-5
    return jnp.where(jnp.all(sizes > 0), -jnp.sum(jnp.log(spectrum) + 1 / spectrum), -jnp.inf)


def params(apply: Apply, params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the number of parameters; for a supernet, of all of them."""
    del apply, images, labels
    return jnp.float32(sum(leaf.size for leaf in jax.tree.leaves(params)))


def macs(apply: Apply, params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the MACs per image (`gpnas.units.macs`); of branches, the most expensive one's."""
    del labels
    image = jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
    return jnp.float32(units.macs(apply, params, image).total(params))


PROXIES: dict[str, Proxy] = {
    "synflow": synflow,
    "nwot": nwot,
    "grad_norm": grad_norm,
    "snip": snip,
    "jacov": jacov,
    "params": params,
    "macs": macs,
}


def measure(
    apply: Apply, names: Iterable[str], params: Any, images: jax.Array, labels: jax.Array
) -> dict[str, jax.Array]:
    """Computes several proxies of one network; to be jitted.

    Args:
      apply: `(params, images) → (batch, classes)` logits in training mode; not jitted.
      names: Names in `PROXIES`, or `module:function` of the user.
      params: Parameters.
      images: (batch, height, width, channels).
      labels: (batch,) int.

    Returns:
      `{name: () float32}`, higher is better.

    Raises:
      UserError: For an unknown proxy, or a user's proxy that raises or does not return a single
        number.
    """
    found = {name: plugins.find("proxy", name, PROXIES) for name in names}
    return {n: _call(n, proxy, apply, params, images, labels) for n, proxy in found.items()}


def _call(name: str, proxy: Proxy, *arguments: Any) -> jax.Array:
    if name in PROXIES:
        return proxy(*arguments)

    def scalar() -> jax.Array:
        found = proxy(*arguments)
        if jnp.shape(found) != ():
            raise ValueError(f"a score of shape {jnp.shape(found)}")
        return found

    allowed = "a function `(apply, params, images, labels) → () float32`"
    return plugins.call_user("proxy", name, allowed, scalar)
