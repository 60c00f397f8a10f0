"""Networks of DARTS cells: shapes, the paper's number of parameters, and what cannot be built."""

import jax
import jax.numpy as jnp
import pytest

from gpnas.errors import UserError
from gpnas.models import DartsNet, Genotype, darts_cell

# The second-order cells of arXiv:1806.09055, figures 4 and 5.
PUBLISHED = Genotype(
    normal=(
        (("sep_conv3", 0), ("sep_conv3", 1)),
        (("sep_conv3", 0), ("sep_conv3", 1)),
        (("sep_conv3", 1), ("skip", 0)),
        (("skip", 0), ("dil_conv3", 2)),
    ),
    reduction=(
        (("max_pool3", 0), ("max_pool3", 1)),
        (("skip", 2), ("max_pool3", 1)),
        (("max_pool3", 0), ("skip", 2)),
        (("skip", 2), ("max_pool3", 1)),
    ),
)


def one(name):
    """Cells of one node that has the operation twice."""
    nodes = (((name, 0), (name, 1)),)
    return Genotype(nodes, nodes)


def count(module, shape):
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    tree = jax.eval_shape(module.init, jax.random.key(0), images)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
def test_the_published_network_has_the_published_size():
    millions = count(DartsNet(PUBLISHED, channels=36, layers=20), (32, 32, 3)) / 1e6
    assert millions == pytest.approx(3.3, abs=0.1)  # table 1


@pytest.mark.parametrize("name", darts_cell.OPERATIONS)
def test_parameters_of_a_reduction_cell_by_hand(name):
    c = 2 * 4
    fit, stem, classifier = 12 * c + 2 * c, 9 * 1 * 12 + 2 * 12, c * 10 + 10
    side = int(name[-1]) if name[-1].isdigit() else 0
    separable = side**2 * c + c**2 + 2 * c
    own = {"sep": 2 * separable, "dil": separable, "ski": c**2 + 2 * c}.get(name[:3], 0)
    module = DartsNet(one(name), channels=4, layers=1)  # the only cell reduces
    assert count(module, (28, 28, 1)) == stem + 2 * fit + 2 * own + classifier


def test_a_stack_with_every_operation_trains():
    nodes = tuple(
        ((a, 0), (b, 1))
        for a, b in zip(darts_cell.OPERATIONS[::2], darts_cell.OPERATIONS[1::2], strict=True)
    )
    module = DartsNet(Genotype(nodes, nodes), channels=4, layers=3)
    images = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    logits, kept = jax.eval_shape(
        lambda v, x: module.apply(v, x, train=True, mutable=["batch_stats"]), variables, images
    )
    assert logits.shape == (2, 10) and logits.dtype == jnp.float32
    assert kept["batch_stats"] == variables["batch_stats"]


@pytest.mark.parametrize(
    "nodes", [(), ((("conv9", 0), ("skip", 1)),), ((("skip", 0), ("skip", 2)),)]
)
def test_cells_that_cannot_be(nodes):
    with pytest.raises(UserError, match="architecture: got"):
        DartsNet(Genotype(nodes, nodes)).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
