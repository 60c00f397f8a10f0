"""Lottery tickets: what each training begins with, and what the cuts leave."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.errors import UserError
from gpnas.masks import MaskContext, apply, init_masks, masked_leaves, summary
from gpnas.methods import EvalContext, build, lottery

PARAMS = {
    "Dense_0": {"kernel": jax.random.normal(jax.random.key(0), (20, 10)), "bias": jnp.ones(10)},
    "Dense_1": {"kernel": jax.random.normal(jax.random.key(1), (10, 5)), "bias": jnp.ones(5)},
}
LENGTH = 10


@dataclasses.dataclass
class State:
    """As much of a train state as a review looks at."""

    step: jax.Array
    params: object
    masks: object
    mask_state: object
    opt_state: object


def trained(params, by):
    """What training might make of parameters."""
    keys = jax.random.split(jax.random.key(by), 4)
    leaves, treedef = jax.tree.flatten(params)
    moved = [x + jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(treedef, moved)


def course(trainings, **settings):
    """`[(state at the end of a training, state at the beginning of the next)]`."""
    method = lottery.lottery(total_steps=LENGTH * trainings, **settings)
    assert method.trainings == trainings
    masks, memory = method.transform.init(init_masks(PARAMS), PARAMS, jax.random.key(2))
    state, pairs = State(jnp.int32(0), PARAMS, masks, memory, "used"), []
    for i in range(1, trainings):
        ended = dataclasses.replace(
            state, step=jnp.int32(i * LENGTH), params=apply(state.masks, trained(state.params, i))
        )
        early = dataclasses.replace(ended, step=jnp.int32(i * LENGTH - 1))
        look = EvalContext(0.0, lambda params: 0.0, lambda params: "fresh")
        assert method.hooks.on_eval(early, look) is early
        state = method.hooks.on_eval(ended, look)
        pairs.append((ended, state))
    last = dataclasses.replace(state, step=jnp.int32(trainings * LENGTH))
    assert method.hooks.on_eval(last, look) is last
    return pairs


def leaves(state):
    """`{path: (mask, weights)}` as NumPy."""
    masks, weights = masked_leaves(state.masks), masked_leaves(state.masks, state.params)
    return {p: (np.asarray(masks[p]), np.asarray(weights[p])) for p in masks}


def first(path):
    name, kernel = path.split("/")
    return np.asarray(PARAMS[name][kernel])


@pytest.mark.slow
def test_winning_tickets_go_back_to_their_first_weights():
    for ended, begun in course(4, rounds=3):
        assert begun.opt_state == "fresh"
        for path, (mask, weights) in leaves(begun).items():
            np.testing.assert_array_equal(weights, np.where(mask, first(path), 0))
            before, values = leaves(ended)[path]
            assert not (mask & ~before).any()
            keep = 0.9 if path.startswith("Dense_1") else 0.8
            assert mask.sum() == round(np.float32(keep) * before.sum())
            assert np.abs(values[before & ~mask]).max() <= np.abs(values[mask]).min()


@pytest.mark.slow
def test_controls_stand_before_each_ticket():
    pairs = course(7, rounds=2, controls=True)
    kinds = [("reinit", pairs[i], pairs[i + 1], pairs[i + 2]) for i in (0, 3)]
    for _, (_, reinit), (_, random), (_, ticket) in kinds:
        for path, (mask, weights) in leaves(ticket).items():
            np.testing.assert_array_equal(weights, np.where(mask, first(path), 0))
            own, other = leaves(reinit)[path]
            np.testing.assert_array_equal(own, mask)
            assert np.isin(other[mask], first(path)).all()
            assert (other[mask] != weights[mask]).mean() > 0.8
            lots, values = leaves(random)[path]
            assert lots.sum() == mask.sum() and (lots != mask).any()
            np.testing.assert_array_equal(values, np.where(lots, first(path), 0))
    # the second round cuts what the first one's ticket was, not its controls
    before, after = leaves(pairs[2][1]), leaves(pairs[3][1])
    assert all(not (after[p][0] & ~before[p][0]).any() for p in before)


@pytest.mark.parametrize("rewind_at, step", [(0.3, 3), (1.0, LENGTH - 1)])
def test_rewinding_goes_back_to_a_later_step(rewind_at, step):
    method = lottery.lottery(total_steps=4 * LENGTH, rounds=3, rewind_at=rewind_at)
    masks, memory = method.transform.init(init_masks(PARAMS), PARAMS, jax.random.key(2))
    for now in range(LENGTH):
        params = trained(PARAMS, now)
        ctx = MaskContext(jnp.int32(now), params, params, jax.random.key(now), may_update=False)
        masks, memory = method.transform.update(masks, memory, ctx)
    for x, y in zip(*map(jax.tree.leaves, (memory.start, trained(PARAMS, step))), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(("turns", "controls"), [(1, False), (3, True)])
def test_the_density_that_is_reported(turns, controls):
    method = lottery.lottery(total_steps=LENGTH * (1 + 2 * turns), rounds=2, controls=controls)
    steps = np.array([0, LENGTH - 1, LENGTH, turns * LENGTH, (turns + 1) * LENGTH])
    told = [float(method.forecast.density(jnp.int32(step))) for step in steps]
    np.testing.assert_allclose(told, [1, 1, 0.8, 0.8, 0.64], rtol=1e-6)


def test_the_reported_density_is_that_of_all_layers():
    pairs = course(3, rounds=2)
    shapes = {path: mask.shape for path, (mask, _) in leaves(pairs[0][0]).items()}
    settings = {"name": "lottery", "rounds": 2}
    method = build(settings, total_steps=3 * LENGTH, batch_size=1, shapes=shapes)
    for i, (_, begun) in enumerate(pairs):
        told = float(method.forecast.density(jnp.int32((i + 1) * LENGTH)))
        assert told == pytest.approx(float(summary.density(begun.masks)), abs=2 / 250)


def test_the_output_layer_is_not_the_last_by_name():
    masks = lottery.prune_smallest(init_masks(PARAMS), PARAMS, 0.2, 0.1, ["Dense_0/kernel"])
    assert {p: int(m.sum()) for p, m in masked_leaves(masks).items()} == {
        "Dense_0/kernel": 180,
        "Dense_1/kernel": 40,
    }


@pytest.mark.parametrize(("controls", "most"), [(False, 9), (True, 3)])
def test_a_training_has_a_step(controls, most):
    said = f"^method.rounds: got {most + 1}, allowed: at most {most} in 10 steps"
    with pytest.raises(UserError, match=said):
        lottery.lottery(total_steps=10, rounds=most + 1, controls=controls)
    assert lottery.lottery(total_steps=10, rounds=most, controls=controls).trainings == 10


def test_shuffled_and_redrawn_keep_what_they_should():
    masks = lottery.prune_smallest(init_masks(PARAMS), PARAMS, 0.5, 0.5)
    lots = masked_leaves(lottery.shuffled(masks, jax.random.key(3)))
    assert {p: int(m.sum()) for p, m in lots.items()} == {
        "Dense_0/kernel": 100,
        "Dense_1/kernel": 25,
    }
    again = lottery.redrawn(PARAMS, jax.random.key(4))
    for name, leaf in PARAMS.items():
        np.testing.assert_array_equal(again[name]["bias"], leaf["bias"])
        old, new = np.sort(leaf["kernel"], None), np.sort(again[name]["kernel"], None)
        np.testing.assert_array_equal(old, new)
