"""gpnas.data._split: the held-out rows and the channel statistics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas.data import Split, subset
from gpnas.data._split import channel_statistics, hold_out, permutation
from gpnas.errors import UserError


@given(
    n=st.integers(2, 500),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_parts_are_sorted_disjoint_and_complete(n, fraction, seed):
    if not 0 < round(n * fraction) < n:
        with pytest.raises(UserError, match=r"data\.validation"):
            hold_out(n, fraction, seed)
        return
    kept, held = hold_out(n, fraction, seed)
    assert len(held) == round(n * fraction)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(n))
    assert np.all(np.diff(kept) > 0)
    assert np.all(np.diff(held) > 0)


def test_is_the_same_on_every_version():
    assert permutation(10, 0).tolist() == [2, 8, 4, 9, 1, 6, 7, 3, 0, 5]
    assert hold_out(10, 0.3, 0)[1].tolist() == [2, 4, 8]


def test_depends_on_the_seed():
    assert hold_out(100, 0.1, 0)[1].tolist() != hold_out(100, 0.1, 1)[1].tolist()


def test_a_smaller_part_is_within_a_larger():
    assert set(hold_out(100, 0.1, 3)[1]) < set(hold_out(100, 0.2, 3)[1])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [1, 5000])
def test_statistics_equal_numpy(n, channels):
    images = np.random.default_rng(0).integers(0, 256, (n, 3, 4, channels), dtype=np.uint8)
    mean, std = channel_statistics(images)
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-6)


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_class_keeps_a_row(counts, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    n, classes = len(labels), len(counts)
    held = round(n * fraction)
    if not 0 < held <= n - classes:
        with pytest.raises(UserError, match=r"data\.validation"):
            hold_out(n, fraction, seed, labels)
        return
    kept, rows = hold_out(n, fraction, seed, labels)
    assert set(labels[kept]) == set(range(classes))
    assert len(rows) == held
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, rows])), np.arange(n))
    assert np.all(np.diff(rows) > 0) and np.all(np.diff(kept) > 0)
    plain = hold_out(n, fraction, seed)
    if set(labels[plain[0]]) == set(range(classes)):  # nothing to mend: bit for bit as without
        np.testing.assert_array_equal(rows, plain[1])


def test_a_class_of_one_image_stays_in_training():
    labels = np.repeat([0, 1, 2], [60, 60, 1])
    lost = [seed for seed in range(40) if 120 in hold_out(121, 0.1, seed)[1]]
    assert lost[:3] == [3, 18, 33]
    assert all(120 in hold_out(121, 0.1, seed, labels)[0] for seed in range(40))


def test_a_smaller_part_is_within_a_larger_with_labels():
    labels = np.repeat([0, 1, 2], [95, 4, 1])
    parts = [set(hold_out(100, part, 3, labels)[1]) for part in (0.1, 0.5, 0.9)]
    assert parts[0] < parts[1] < parts[2]


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_subset_is_evenly_spaced(n, count):
    rows = np.arange(n)
    found = subset(Split(rows[:, None], rows), count)
    assert len(found) == min(n, count)
    np.testing.assert_array_equal(found.inputs[:, 0], found.targets)
    gaps = np.diff([*found.targets, n])
    assert found.targets[0] == 0 and gaps.min() >= 1 and gaps.max() <= gaps.min() + 1
