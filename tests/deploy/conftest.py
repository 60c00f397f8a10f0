"""Small pruned networks, and a run of the digits that has finished."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas import models
from gpnas.train import base, train


class Subject(NamedTuple):
    """A module, its variables (some units have zero outgoing weights), its images, their shape."""

    module: nn.Module
    variables: dict
    shape: tuple
    images: np.ndarray


class Own(nn.Module):
    """A network that is not of gpnas, with a maximum pool."""

    @nn.compact
    def __call__(self, images, train=False):
        """(batch, 8, 8, 1) → (batch, 10)."""
        x = nn.relu(nn.Conv(6, (3, 3))(images))
        x = nn.max_pool(x, (2, 2), (2, 2))
        return nn.Dense(10)(nn.relu(nn.Dense(8)(x.reshape(x.shape[0], -1))))


class Fixed(nn.Module):
    """One that has layers of its own, whose widths are fixed."""

    @nn.compact
    def __call__(self, images, train=False):
        """(batch, 4, 4, 1) → (batch, 3)."""
        draw = nn.initializers.lecun_normal()
        hidden = nn.relu(images.reshape(images.shape[0], -1) @ self.param("first", draw, (16, 9)))
        return hidden @ self.param("second", draw, (9, 3))


MODULES = {
    "lenet300": (models.LeNet300(widths=(12, 9)), (8, 8, 1)),
    "lenet5": (models.LeNet5(widths=(4, 6, 10)), (16, 16, 1)),
    "resnet": (models.ResNet(blocks=1, width=4), (8, 8, 3)),
    "own": (Own(), (8, 8, 1)),
    "fixed": (Fixed(), (4, 4, 1)),
}


def _zero(leaf):
    """A third of what each kernel reads is zero, but for the images."""
    inputs = leaf.shape[-2] if leaf.ndim > 1 else 0
    if inputs in (0, 1, 3, 16, 64):  # no kernel, or the first
        return leaf
    return leaf * (np.arange(inputs) % 3 != 1)[:, None].astype(np.float32)


@pytest.fixture(scope="session")
def subject():
    """`name → Subject`, weights drawn once."""

    def make(name):
        module, shape = MODULES[name]
        images = np.random.default_rng(0).uniform(0, 255, (5, *shape)).astype(np.float32)
        variables = module.init(jax.random.key(0), jnp.asarray(images))
        leaves, structure = jax.tree.flatten(variables)
        rng = np.random.default_rng(1)
        moved = [x + 0.05 * rng.normal(size=x.shape).astype(np.float32) for x in leaves]
        variables = jax.tree.map(_zero, jax.tree.unflatten(structure, moved))
        return Subject(module, variables, shape, images)

    return make


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Folder of a finished run: GMP to 5 % on the digits, 80 steps."""
    config = base(name="gmp", density=0.05, every=8)
    config.data.name, config.data.cache_dir = "digits", str(tmp_path_factory.mktemp("cache"))
    config.model.widths = (32, 16)
    config.train.epochs, config.train.batch_size = 4, 64
    config.train.tensorboard = False
    folder = tmp_path_factory.mktemp("runs") / "gmp"
    train(config, folder)
    return folder
