"""LeNet-300-100 for pixels from 0 to 1, and trained networks as initial weights."""

import functools
import pathlib
import tempfile

import jax
from flax import linen as nn

from configs import dense
from experiments.studies.recipes import mnist
from gpnas import models
from gpnas.train import load_run, train

_MEAN, _STD = 0.1307, 0.3081  # of MNIST's pixels, used by the library's standardization
EPOCHS = 20  # of a trained network


class UnitPixels(nn.Module):
    """LeNet-300-100 on pixels from 0 to 1; undoes the standardization."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """(batch, height, width, channels), standardized → (batch, num_classes) logits."""
        return models.LeNet300(self.num_classes, name="lenet")(images * _STD + _MEAN, train)


def trained() -> dict:
    """Returns variables of a dense LeNet-300-100, trained by Adam for `EPOCHS` epochs with seed
    0."""
    return _trained("lenet300")


def trained_unit() -> dict:
    """Returns the same for `UnitPixels`."""
    return _trained(f"{UnitPixels.__module__}:{UnitPixels.__name__}")


@functools.cache
def _trained(model: str) -> dict:
    config = mnist(dense, EPOCHS)
    config.model.name = model
    config.optimizer.update(name="adam", learning_rate=1e-3, schedule="constant")
    del config.optimizer.arguments["momentum"]
    with tempfile.TemporaryDirectory() as folder:
        train(config, folder)
        return load_run(pathlib.Path(folder)).variables
