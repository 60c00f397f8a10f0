"""What is selected on the validation images, and what a line of metrics says."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.train import Metric, percent
from gpnas.train._observe import HostCounters, no_selections, select_best, train_line

ERROR = Metric("error", "%", value=percent)


def network(value):
    """A state whose only weight tells which it is."""
    return SimpleNamespace(
        params={"w": jnp.full((1, 1), value)}, masks={"w": jnp.ones((1, 1), bool)}, model_state={}
    )


def select(evaluations):
    """Step of the network selected after evaluations with `(active weights, error in %)`."""
    as_it_is = SimpleNamespace(
        metric=ERROR, networks=lambda states: [{"params": state.params} for state in states]
    )
    (best,) = no_selections(as_it_is, [network(0.0)])
    for step, (active, error) in enumerate(evaluations, 1):
        program = SimpleNamespace(
            metric=ERROR,
            to_full_shape=lambda tree: tree,
        )
        variables, metrics = (
            {"params": network(float(step)).params},
            {"loss": 1.0, "error": error / 100},
        )
        now = HostCounters(step, {"w": 10_000}, {"w": active}, {}, {}, {})
        line, best = select_best(program, variables, metrics, now, best)
        assert line == {"step": step, "split": "validation", "loss": 1.0, "error": error}
    assert float(best.variables["params"]["w"][0, 0]) == int(best.step)
    assert float(best.value) == pytest.approx(evaluations[int(best.step) - 1][1])
    return int(best.step)


@pytest.mark.parametrize(
    ("evaluations", "chosen"),
    [
        ([(500, 9), (500, 7), (500, 8)], 2),
        ([(500, 7), (500, 7)], 1),  # the first of equals
        ([(500, 93.0556)] * 3, 1),  # also where float32 rounds up
        ([(5000, 1), (500, 90)], 2),  # sparser wins whatever the error
        ([(500, 9), (5000, 1), (500, 8)], 3),  # denser never does
        ([(500, 9), (505, 8)], 2),  # within the slack
        ([(500, 9), (506, 8)], 1),
        ([(1000, 50)] * 2 + [(1009, 40), (1019, 30), (1029, 20)], 3),  # the slack does not creep
        ([(1009, 5), (1004, 6), (995, 7)], 3),  # nor stays with one that is no longer sparse
        ([(100, 9), (200, 5)], 1),
        ([(1, 50), (1, 40)], 2),
    ],
)
def test_the_best_of_the_sparsest(evaluations, chosen):
    assert select(evaluations) == chosen


def test_line():
    before = HostCounters(
        10, {"a": 8, "b": 2}, {"a": 4, "b": 2}, {"a": 1, "b": 0}, {"a": 3, "b": 0},
        {"a": 5.0, "b": 10.0},
    )  # fmt: skip
    now = HostCounters(
        14, {"a": 8, "b": 2}, {"a": 2, "b": 2}, {"a": 2, "b": 0}, {"a": 6, "b": 0},
        {"a": 13.0, "b": 18.0}, skipped=2,
    )  # fmt: skip
    line = train_line(before, now, {"loss": np.float32(8), "error": np.float32(1)}, ERROR)
    layers = line.pop("layers")
    assert line == {
        "step": 14, "split": "train", "loss": 2.0, "error": 25.0, "density": 0.4,
        "grown": 1, "pruned": 3, "skipped": 2,
    }  # fmt: skip
    assert layers["a"] == {"density": 0.25, "mean_density": 0.25, "grown": 1, "pruned": 3}
    assert layers["b"] == {"density": 1.0, "mean_density": 1.0, "grown": 0, "pruned": 0}
