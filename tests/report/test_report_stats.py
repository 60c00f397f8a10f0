"""Means and intervals against numbers worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas.report import stats


def test_interval_by_hand():
    # Deviations -1, 0, 1: s = 1, so the half width is t(2) / sqrt(3).
    result = stats.estimate([1.0, 2.0, 3.0])
    assert result.mean == 2.0
    assert result.n == 3
    assert result.half == pytest.approx(4.302652729911275 / math.sqrt(3), rel=1e-9)


def test_interval_of_five_by_hand():
    # Sum of squares 0.1, s = sqrt(0.025), half width 2.7764 * sqrt(0.025 / 5).
    result = stats.estimate([1.6, 1.7, 1.8, 1.9, 2.0])
    assert result.mean == pytest.approx(1.8)
    assert result.half == pytest.approx(2.7764451052 * math.sqrt(0.005), rel=1e-9)


def test_one_value_has_no_interval():
    assert stats.estimate([1.5]).half is None


def test_missing_values_are_left_out():
    assert stats.estimate([None, 1.0, None, 3.0]).n == 2
    assert stats.estimate([None]) is None


def test_the_interval_is_students():
    """The 0.975 quantiles for 1 and 2 degrees of freedom are 12.706 and 4.303."""
    assert stats.estimate([0.0, 2.0]).half == pytest.approx(12.7062047364)
    assert stats.estimate([0.0, 1.0, 2.0]).half == pytest.approx(4.3026527297 / 3**0.5)


def test_paired_difference_uses_shared_seeds_only():
    result = stats.paired_difference({0: 2.0, 1: 3.0, 7: 9.0}, {0: 1.0, 1: 1.0, 2: 5.0})
    assert result.values == (1.0, 2.0)
    assert result.mean == 1.5
    # s = sqrt(0.5), so s / sqrt(2) = 0.5.
    assert result.half == pytest.approx(12.7062047364 * 0.5)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], "–"),
        ([1.625], "1.62"),
        ([92.4791, 92.4791], "92.48 (all equal)"),
        ([0.3 - 0.1, 0.2], "0.20 (all equal)"),  # but for rounding
        ([5.6262, 5.6264], "5.626 ± 0.001"),
        ([5.6266, 5.6266002], "5.626600 ± 0.000001"),
        ([1.0, 2.0], "1.50 ± 6.35"),  # Student's t with one degree of freedom
        ([1.0, 1.1, 1.2], "1.10 ± 0.25"),
        ([1234.0, 1235.0], "1,234.50 ± 6.35"),
    ],
)
def test_an_interval_never_reads_as_zero(numbers, text):
    assert stats.interval_text(stats.estimate(numbers)) == text


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=6), st.integers(0, 3))
def test_the_half_width_shown_is_not_zero(numbers, places):
    text = stats.interval_text(stats.estimate(numbers), places)
    assert text.endswith("(all equal)") or float(text.partition("± ")[2].replace(",", "")) > 0
