"""Arms by published recipes: what they change, and pixels from 0 to 1."""

import jax
import numpy as np

from experiments.studies.as_published.config import get_config
from experiments.studies.as_published.networks import UnitPixels
from gpnas.models import LeNet300
from gpnas.train import settings


def test_settings():
    arms = {name: seeds[0] for name, seeds in settings(get_config())}
    epochs = {name: one.train.epochs for name, one in arms.items()}
    assert epochs.pop("sensitivity per example") == 150 and set(epochs.values()) == {200}
    assert arms["sensitivity per example"].method.kind == "unspecified_per_example"
    assert not arms["sparse VD unremoved"].method.remove
    own, other = arms["NPN with Adam"].optimizer, arms["dense with Adam"].optimizer
    assert own.to_dict() == other.to_dict() and own.schedule == "constant"
    assert arms["NPN with SGD"].optimizer.name == "sgd"
    assert round(60_000 * arms["L0 averaged"].data.validation) == 10


def test_pixels_are_scaled_back():
    pixels = np.linspace(0, 1, 2 * 28 * 28, dtype=np.float32).reshape(2, 28, 28, 1)
    network, standardized = UnitPixels(), (pixels - 0.1307) / 0.3081
    variables = network.init(jax.random.key(0), standardized)
    logits = LeNet300().apply({"params": variables["params"]["lenet"]}, pixels)
    np.testing.assert_allclose(network.apply(variables, standardized), logits, atol=1e-4)
