"""Schedules of long runs: the values are those of all steps at once, and few are in memory."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.masks import schedule
from gpnas.train import _patience, _segments
from gpnas.train._forecast import mask_updates
from gpnas.train._in_blocks import BLOCK, in_blocks

LONG = 2 * BLOCK + 1000


def method_of(may_change, may_observe=schedule.never):
    transform = types.SimpleNamespace(may_change=may_change, may_observe=may_observe)
    return types.SimpleNamespace(
        transform=transform, gates=types.SimpleNamespace(masked=True), trainings=1
    )


@pytest.mark.parametrize("total", [1, BLOCK, LONG])
def test_blocks_are_the_whole_schedule(total):
    values = jax.vmap(schedule.cosine(1.0, total))
    whole, between = np.asarray(values(jnp.arange(total))), in_blocks(values, total)
    for start, stop in ((0, total), (0, 1), (BLOCK - 7, BLOCK + 5), (total - 1, total + 9)):
        parts = list(between(start, stop))
        steps = np.concatenate([at + np.arange(len(part)) for at, part in parts] or [[]])
        assert steps.tolist() == list(range(min(start, total), min(stop, total)))
        found = np.concatenate([part for _, part in parts] or [[]])
        np.testing.assert_allclose(found, whole[start:stop], atol=1e-6)
    assert all(len(part) <= BLOCK for _, part in between(0, total))
    assert not list(between(total, total + 4))


def test_mask_updates_of_a_long_run():
    def may_change(step):
        return (step % 1000 == 7) & schedule.within(3, BLOCK + 5000)(step)

    expected = np.flatnonzero(np.arange(LONG) % 1000 == 7)
    expected = expected[expected < BLOCK + 5000]
    method = method_of(may_change)
    assert _patience.masks_final(method, LONG) == expected[-1] + 1
    assert _patience.masks_final(method_of(schedule.never), LONG) == 0
    assert mask_updates(method, {"every": 1000}, LONG, 1) == len(expected)


def test_a_long_run_is_evaluated_in_blocks():
    sizes = []

    def watched(step):
        jax.debug.callback(lambda values: sizes.append(values.size), step)
        return step == 5

    values = jax.jit(watched)
    assert sum(part.sum() for _, part in in_blocks(values, LONG)(0, LONG)) == 1
    jax.effects_barrier()
    assert sorted(sizes) == [1000, BLOCK, BLOCK]


def test_runs_of_one_kind_go_on_in_the_next_block():
    kinds = np.zeros(LONG, np.int8)
    kinds[BLOCK - 3 : BLOCK + 4] = 1  # goes on beyond the end of the block
    kinds[2 * BLOCK] = 2
    parts = ((at, kinds[at : at + BLOCK]) for at in range(0, LONG, BLOCK))
    found = _segments.count_runs(parts, LONG, (LONG,))
    assert found == {
        "plain": {BLOCK - 3: 1, BLOCK - 4: 1, 999: 1}, "observing": {7: 1}, "any": {1: 1},
    }  # fmt: skip
    parts = ((at, kinds[at : at + BLOCK]) for at in range(0, LONG, BLOCK))
    found = _segments.count_runs(parts, LONG, (BLOCK // 2, LONG))
    half = BLOCK // 2
    assert found == {
        "plain": {half: 2, half - 3: 1, half - 4: 1, 999: 1}, "observing": {3: 1, 4: 1},
        "any": {1: 1},
    }  # fmt: skip
