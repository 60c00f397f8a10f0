"""Which fields of a network set how many units it has is found by tracing it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpnas import models, units
from gpnas.errors import UserError

IMAGES = jax.ShapeDtypeStruct((2, 4, 4, 1), jnp.float32)


class Mlp(nn.Module):
    """Hidden layers of an int and a tuple, and numbers that are no widths."""

    first: int
    others: tuple
    depth: int = 1
    kernel: tuple = (3, 3)

    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Conv(self.first, self.kernel)(images)).reshape(images.shape[0], -1)
        for width in self.others:
            x = nn.relu(nn.Dense(width)(x))
        for _ in range(self.depth):
            x = nn.Dense(3)(x)
        return x


class Two(nn.Module):
    """Two branches side by side, one of them behind a layer of its own."""

    a: int = 4
    b: int = 6
    inner: int = 5

    @nn.compact
    def __call__(self, images):
        x = images.reshape(images.shape[0], -1)
        left, inner = nn.relu(nn.Dense(self.a)(x)), nn.relu(nn.Dense(self.inner)(x))
        right = nn.relu(nn.Dense(self.b)(inner))
        return nn.Dense(3)(jnp.concatenate([left, right, left * 2], -1))


class Computed(nn.Module):
    """The second width follows from the first."""

    width: int = 4

    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Dense(self.width)(images.reshape(images.shape[0], -1)))
        x = nn.relu(nn.Dense(2 * self.width)(x))
        return nn.Dense(3)(x)


class Scaled(nn.Module):
    """A width that is a multiple of its field, beside one that is none."""

    scale: int = 2

    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Dense(4 * self.scale)(images.reshape(images.shape[0], -1)))
        x = nn.relu(nn.Dense(7)(x))
        return nn.Dense(3)(x)


def shapes_of(make):
    return lambda fields: jax.eval_shape(make(**fields).init, jax.random.key(0), IMAGES)


def widths_of(make, **fields):
    variables = shapes_of(make)(fields)
    groups = units.discover(make(**fields).apply, variables, IMAGES)
    return models.find_widths("elastic", shapes_of(make), fields, groups), groups


@pytest.mark.slow
@settings(max_examples=8)
@given(st.integers(2, 9), st.lists(st.integers(2, 9), min_size=1, max_size=3), st.booleans())
def test_each_group_has_the_number_that_sets_it(first, others, as_list):
    fields = {"first": first, "others": others if as_list else tuple(others), "depth": 1}
    found, groups = widths_of(Mlp, **fields, kernel=(3, 3))
    names = ["first", *(f"others[{i}]" for i in range(len(others)))]
    assert [str(found[g.name]) for g in groups.groups] == names
    assert [found[g.name].value for g in groups.groups] == [g.size for g in groups.groups]
    new = models.with_widths(fields, {width: width.value + 3 for width in found.values()})
    assert new == {"first": first + 3, "others": tuple(n + 3 for n in others), "depth": 1}


def test_branches_that_are_concatenated():
    found, groups = widths_of(Two, a=4, b=6, inner=5)
    assert {g.size: str(found[g.name]) for g in groups.groups} == {4: "a", 6: "b", 5: "inner"}


@pytest.mark.parametrize(
    ("make", "fields", "said"),
    [
        (Computed, {"width": 4}, "Dense_0/kernel:1 (4 units) has none of its own: width sets"
         " params/Dense_1/kernel:1, too"),
        (Scaled, {"scale": 2}, "Dense_0/kernel:1 (8 units) has none of its own: scale adds 4"),
        (Two, {"a": 4, "b": 6}, "Dense_1/kernel:1 (5 units) has none of its own: make its width"),
    ],
)  # fmt: skip
def test_a_group_without_a_number_is_named(make, fields, said):
    with pytest.raises(UserError) as error:
        widths_of(make, **fields)
    assert str(error.value).startswith("elastic: got True, allowed: a network with a field")
    assert said in str(error.value) and "\n" not in str(error.value)
