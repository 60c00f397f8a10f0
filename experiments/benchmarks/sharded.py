"""What masks cost where a large network is split over devices: memory and traffic, by XLA's account.

The programs are compiled for eight virtual CPU devices, and not run. A process of their own compiles
them, since the number of devices is fixed when JAX starts.
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
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from gpnas.masks import allocate
from gpnas.methods import METHODS
from gpnas.models import ResNet, linen
from gpnas.train import Task, classification, init_state, make_step, shardings

from .collectives import collectives
from .measure import Measurement, Options

_DEVICES = 8
_MIN_SIZE = 2**16  # elements of arrays that are split
_BATCH = 32  # images per device


class Network(NamedTuple):
    """A network to compile: the module, the shape of an image, and the optimizer."""

    module: nn.Module
    image: tuple[int, int, int]
    tx: optax.GradientTransformation


class ViT(nn.Module):
    """Vision transformer with a class per image by mean pooling, as big_vision's ViT-S/16.

    References:
      Beyer et al. 2022 (arXiv:2205.01580).
    """

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
        at = self.param("position", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        x = x + at
        for _ in range(self.layers):
            y = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(self.heads)(y, y)
            y = nn.Dense(4 * self.width)(nn.LayerNorm()(x))
            x = x + nn.Dense(self.width)(nn.gelu(y))
        return nn.Dense(self.classes, name="head")(nn.LayerNorm()(x).mean(1))


def _networks(fast: bool) -> dict[str, Network]:
    sgd, adam = optax.sgd(0.1, momentum=0.9), optax.adamw(1e-3, weight_decay=1e-4)
    if fast:
        return {
            "resnet": Network(ResNet(blocks=1, width=16), (8, 8, 3), sgd),
            "vit": Network(ViT(width=64, layers=1, heads=2, patch=4), (8, 8, 3), adam),
        }
    return {
        "resnet": Network(ResNet(blocks=5, width=160), (32, 32, 3), sgd),
        "vit": Network(ViT(), (224, 224, 3), adam),
    }


def _dense_step(task: Task, tx: optax.GradientTransformation) -> tuple[Callable, Callable]:
    """`(init, step)` of a network without masks, with nothing of gpnas but the task's loss."""

    def init(image: jax.Array) -> tuple:
        variables = dict(task.init(jax.random.key(0), image))
        params = variables.pop("params")
        return params, variables, tx.init(params), jax.random.key(0)

    def step(state: tuple, batch: tuple) -> tuple:
        params, others, moments, key = state

        def loss(params: Any) -> tuple:
            value, aux = task.loss({"params": params, **others}, batch, key)
            return value, aux

        (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, moments = tx.update(grads, moments, params)
        params = optax.apply_updates(params, updates)
        return (params, aux.model_state, moments, key), {"loss": value, **aux.metrics}

    return init, step


def _compiled(init: Callable, step: Callable, image: tuple, min_size: int) -> dict[str, Any]:
    """Memory of a device, and collectives, of a step on eight devices."""
    mesh = jax.make_mesh((_DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    whole, rows = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    state = jax.eval_shape(init, jax.ShapeDtypeStruct((1, *image), jnp.float32))
    layout = shardings(state, min_size, mesh)
    size = _BATCH * _DEVICES
    shapes = (
        jax.ShapeDtypeStruct((size, *image), jnp.float32),
        jax.ShapeDtypeStruct((size,), jnp.int32),
    )
    jitted = jax.jit(
        step, in_shardings=(layout, rows), out_shardings=(layout, whole), donate_argnums=0
    )
    compiled = jitted.lower(state, shapes).compile()
    memory = compiled.memory_analysis()
    sent = collectives(compiled.as_text())
    kinds = sorted({one.kind for one in sent})
    if "DUMP" in os.environ: open(os.environ["DUMP"] + f"-{step.__qualname__}.txt", "w").write(compiled.as_text())
    return {
        "memory": {
            "state": memory.argument_size_in_bytes,
            "temporary": memory.temp_size_in_bytes,
            "total": memory.argument_size_in_bytes + memory.output_size_in_bytes
            - memory.alias_size_in_bytes + memory.temp_size_in_bytes,
        },
        "sent": {
            kind: sum(one.size * one.times for one in sent if one.kind == kind) for kind in kinds
        },
        "collectives": {kind: sum(one.times for one in sent if one.kind == kind) for kind in kinds},
    }
