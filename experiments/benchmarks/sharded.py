"""Cost of masks for a network sharded over devices: memory and collectives.

XLA reports both for programs that are compiled for eight virtual CPU devices but not run. A
separate process compiles them, since the number of devices is fixed when JAX starts.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gpnas.methods import METHODS
from gpnas.models import ResNet, linen
from gpnas.train import Task, classification, init_state, make_step, shardings

from .collectives import collectives
from .measure import Measurement, Options

_DEVICES = 8
_MEMORY, _TRAFFIC = 1.15, 2**20  # targets: relative to the dense step, and bytes beyond it
# Affects generated code, but not the memory and collectives that are counted.
_QUICK: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}


class Network(NamedTuple):
    """A network to compile.

    Attributes:
      module: The network.
      image: Shape of an image.
      batch: Images per device.
      min_size: Elements of the smallest array that is sharded.
      tx: The optimizer.
    """

    module: nn.Module
    image: tuple[int, int, int]
    batch: int
    min_size: int
    tx: optax.GradientTransformation


class Layer(nn.Module):
    """A layer of a vision transformer, for `nn.scan`; `rows` is the sharding of a batch."""

    heads: int
    rows: NamedSharding

    @nn.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:
        """(batch, tokens, width) → the same, None."""
        if len(x) % self.rows.mesh.size == 0:  # not for the single image of `init`
            # Otherwise XLA shards activations like weights, and gathers them.
            x = jax.lax.with_sharding_constraint(x, self.rows)
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(self.heads)(y, y)
        y = nn.Dense(4 * x.shape[-1])(nn.LayerNorm()(x))
        return x + nn.Dense(x.shape[-1])(nn.gelu(y)), None


class ViT(nn.Module):
    """Vision transformer; by default ViT-S/16 with mean pooling and stacked layers.

    References:
      Beyer et al. 2022 (arXiv:2205.01580); big_vision's `vit.py` with `scan=True`.
    """

    rows: NamedSharding
    width: int = 384
    layers: int = 12
    heads: int = 6
    patch: int = 16
    classes: int = 1000

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """(batch, height, width, 3) → (batch, classes) logits."""
        del train
        side = (self.patch, self.patch)
        x = nn.Conv(self.width, side, side, name="embedding")(images)
        x = x.reshape(len(x), -1, self.width)
        x = x + self.param("position", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        layers = nn.scan(
            Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.layers
        )
        x, _ = layers(self.heads, self.rows, name="layers")(x, None)
        return nn.Dense(self.classes, name="head")(nn.LayerNorm()(x).mean(1))


def _mesh() -> Mesh:
    return jax.make_mesh((_DEVICES,), ("data",), axis_types=(AxisType.Auto,))


def _networks(fast: bool) -> dict[str, Network]:
    rows = NamedSharding(_mesh(), PartitionSpec("data"))
    sgd, adam = optax.sgd(0.1, momentum=0.9), optax.adamw(1e-3, weight_decay=1e-4)
    if fast:
        small = ViT(rows, width=64, layers=2, heads=2, patch=4)
        return {
            "resnet": Network(ResNet(), (8, 8, 3), 16, 1024, sgd),
            "vit": Network(small, (16, 16, 3), 16, 1024, adam),
        }
    return {
        "resnet": Network(ResNet(blocks=2, width=272), (32, 32, 3), 32, 2**16, sgd),
        "vit": Network(ViT(rows), (224, 224, 3), 32, 2**16, adam),
    }


def sharded_step(options: Options, model: str) -> Measurement:
    """Memory of a device in a step with a mask update over that in a dense step."""
    command = [sys.executable, "-m", __name__, model, *(["fast"] if options.fast else [])]
    env = os.environ | {"JAX_NUM_CPU_DEVICES": str(_DEVICES), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout)
    value = found["masked"]["memory"]["total"] / found["dense"]["memory"]["total"]
    beyond = sum(found["masked"]["sent"].values()) - sum(found["dense"]["sent"].values())
    return Measurement(
        f"sharded_step_{model}", value, "memory of a device, masked step / dense step",
        f"≤ {_MEMORY}, and less than {_TRAFFIC} bytes more sent by a mask update",
        value <= _MEMORY and beyond < _TRAFFIC, {"sent_beyond_dense": beyond} | found,
    )  # fmt: skip


def _describe(model: str, fast: bool) -> dict[str, Any]:
    """Returns XLA's memory and collectives of both steps of a network on eight devices."""
    network = _networks(fast)[model]
    task, batch = classification(linen(network.module)), _DEVICES * network.batch
    method = METHODS["development"](
        density=0.1, peak=3.0, total_steps=10_000, batch_size=batch, every=100, window=20,
    )  # fmt: skip
    masked_step = make_step(task, method, network.tx)

    def masked_init(image: jax.Array) -> Any:
        where = "*kernel"  # excludes stacked biases
        return init_state(task, method, network.tx, image, jax.random.key(0), where)

    dense_init, dense_step = _dense(task, network.tx)
    image = jax.ShapeDtypeStruct((1, *network.image), jnp.float32)
    params = jax.tree.leaves(jax.eval_shape(dense_init, image)[0])
    return {
        "params": sum(x.size for x in params),
        "devices": _DEVICES,
        "batch": batch,
        "min_size": network.min_size,
        "dense": _compiled(dense_step, dense_init, network),
        "masked": _compiled(masked_step, masked_init, network),
    }


def _dense(task: Task, tx: optax.GradientTransformation) -> tuple[Callable, Callable]:
    """Returns `(init, step)` of a network without masks; of gpnas only the task's loss is used."""

    def init(image: jax.Array) -> tuple:
        variables = dict(task.init(jax.random.key(0), image))
        params = variables.pop("params")
        return params, variables, tx.init(params), jax.random.key(0)

    def step(state: tuple, batch: tuple) -> tuple:
        params, others, moments, key = state

        def loss(params: Any) -> tuple:
            return task.loss({"params": params, **others}, batch, key)

        (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, moments = tx.update(grads, moments, params)
        params = optax.apply_updates(params, updates)
        return (params, aux.model_state, moments, key), {"loss": value, **aux.metrics}

    return init, step


def _compiled(step: Callable, init: Callable, network: Network) -> dict[str, Any]:
    """Returns bytes of memory per device, and bytes and number of collectives, of a step."""
    mesh = _mesh()
    whole, rows = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    size = _DEVICES * network.batch
    images = jax.ShapeDtypeStruct((size, *network.image), jnp.float32)
    labels = jax.ShapeDtypeStruct((size,), jnp.int32)
    state = jax.eval_shape(init, jax.ShapeDtypeStruct((1, *network.image), jnp.float32))
    layout = shardings(state, network.min_size, mesh)
    jitted = jax.jit(
        step, in_shardings=(layout, rows), out_shardings=(layout, whole), donate_argnums=0
    )
    with jax.set_mesh(mesh):
        compiled = jitted.lower(state, (images, labels)).compile(_QUICK)
    memory, text = compiled.memory_analysis(), compiled.as_text()
    if memory is None or text is None:
        raise ValueError("XLA gives no account of this program's memory or text")
    arguments, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    new = memory.output_size_in_bytes - memory.alias_size_in_bytes
    sent = collectives(text)
    kinds = sorted({one.kind for one in sent})
    return {
        "memory": {
            "arguments": arguments, "temporary": temporary, "total": arguments + new + temporary,
        },
        "sent": {k: sum(one.size * one.times for one in sent if one.kind == k) for k in kinds},
        "collectives": {k: sum(one.times for one in sent if one.kind == k) for k in kinds},
        "largest": {k: max(one.size for one in sent if one.kind == k) for k in kinds},
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(_describe(sys.argv[1], "fast" in sys.argv)))
