"""Analyses of a finished network are in its record."""

import jax
import numpy as np
import pytest

from gpnas.errors import UserError
from gpnas.masks import init_masks, masked_leaves
from gpnas.train import make_plan, train
from gpnas.train._analysis import analyse

ENTROPY, SHARPNESS = (
    "gpnas.sensitivity.entropy:psp_entropy",
    "experiments.studies.curves.analyses:top_eigenvalue",
)


def active(forward, params, masks, classes):
    """The number of active weights; the params are masked."""
    assert forward.labels.shape and classes == 10
    return sum(int((leaf != 0).sum()) for leaf in masked_leaves(masks, params).values())


@pytest.fixture(scope="module")
def network(tiny, digits):
    """A plan, and variables and masks of its network."""
    plan = make_plan(tiny(name="dense"), digits)
    variables = plan.task.init(jax.random.key(0), digits.train.inputs[:1] / 255.0)
    return plan, variables, init_masks(variables["params"])


@pytest.mark.slow
def test_entropy_of_states(network, digits):
    plan, variables, masks = network
    found = analyse([ENTROPY], plan, variables, masks, digits)[ENTROPY]
    assert list(found) == ["Dense_0/kernel", "Dense_1/kernel", "Dense_2/kernel"]
    x = (digits.train.inputs / 255.0 - digits.mean) / digits.std
    kernel, bias = (np.asarray(variables["params"]["Dense_0"][k]) for k in ("kernel", "bias"))
    on = x.reshape(len(x), -1) @ kernel + bias > 0
    p = np.stack([on[digits.train.targets == c].mean(0) for c in range(10)]).clip(1e-4, 1 - 1e-4)
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p)).sum(0)
    assert found["Dense_0/kernel"] == pytest.approx(entropy.mean(), rel=1e-3)


@pytest.mark.slow
def test_sharpness_is_of_the_living_weights(network, digits):
    plan, variables, masks = network

    def sharpness(masks):
        return analyse([SHARPNESS], plan, variables, masks, digits)[SHARPNESS]

    nothing = jax.tree.map(lambda m: m & False if m.ndim else m, masks)
    assert 0 < sharpness(nothing) < sharpness(masks)  # biases are left


@pytest.mark.slow
def test_in_the_record(tiny, digits, tmp_path):
    config = tiny(name="static", density=0.2)
    config.train.epochs = 1
    config.analysis = (f"{__name__}:active",)
    record = train(config, tmp_path / "run", digits)
    assert record["analysis"] == {f"{__name__}:active": record["cost"]["nonzeros"]}
    config.analysis = ("temperature",)
    with pytest.raises(UserError, match="analysis"):
        train(config, tmp_path / "other", digits)
    assert not (tmp_path / "other").exists()
