"""The student that grows: what it learns before, at and after a birth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies.gradmax.config import get_config
from experiments.studies.gradmax.run import CONTROLS, matching, relu1, teach
from gpnas.errors import UserError
from gpnas.records import read_lines


def small():
    config = get_config()
    config.update(
        inputs=4, width=4, outputs=3, start=2, samples=50, interval=20, last=10, every=1, seeds=3,
        arms=("GradMax", "random", "small"),
    )  # fmt: skip
    return config


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("growth")
    config = small()
    config.seeds = 2
    teach(config, str(folder))
    path = teach(small(), str(folder))
    found = read_lines(path)
    assert teach(small(), str(folder)) == path and read_lines(path) == found
    return found


def by(records, arm):
    return [r for r in records if r["arm"] == arm]


@pytest.mark.exhaustive
def test_each_student_is_taught_once(records):
    units = [(r["arm"], r["seed"]) for r in records]
    assert sorted(units) == sorted((a, s) for a in small().arms for s in range(3))
    other = small()
    other.samples = 51
    assert matching(records, small()) == records and not matching(records, other)


def test_arms_begin_alike_and_a_birth_does_not_change_the_loss(records):
    for a, b, c in zip(*(by(records, arm) for arm in small().arms), strict=True):
        assert len(a["losses"]) == 50
        np.testing.assert_allclose(a["losses"][:21], c["losses"][:21], atol=2e-6)
        np.testing.assert_allclose(b["losses"][:21], c["losses"][:21], atol=2e-6)
        assert a["gradient_norms"][0][0] == b["gradient_norms"][0][0] and not c["gradient_norms"]


def test_the_first_birth_by_singular_vectors_gains_most(records):
    """Same student, same side, same length: a law, not luck."""
    for ours, theirs in zip(by(records, "GradMax"), by(records, CONTROLS["GradMax"]), strict=True):
        assert ours["gradient_norms"][0][1] >= theirs["gradient_norms"][0][1]


def test_means_are_those_of_the_losses(records):
    for record in records:
        losses = np.array(record["losses"])
        np.testing.assert_allclose(record["loss_after_first"], losses[20:].mean(), atol=2e-6)
        parts = [losses[20:40].mean(), losses[40:].mean()]
        np.testing.assert_allclose(record["loss_after_growth"], parts, atol=2e-6)


def test_relu_has_a_slope_at_zero():
    x = jnp.array([-1.0, 0.0, 2.0])
    np.testing.assert_array_equal(relu1(x), jax.nn.relu(x))
    np.testing.assert_array_equal(jax.vmap(jax.grad(relu1))(x), [0, 1, 1])


@pytest.mark.parametrize(
    ("field", "value"),
    [("seeds", 0), ("start", 4), ("learning_rate", 0.0), ("arms", ("GradMax", "best"))],
)
def test_settings_that_cannot_be(field, value, tmp_path):
    config = small()
    config[field] = value
    with pytest.raises(UserError, match=field):
        teach(config, str(tmp_path))
    assert not list(tmp_path.iterdir())
