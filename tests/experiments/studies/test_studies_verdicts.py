"""What seeds show: yes, no, or how much they leave open."""

import pytest

from experiments.studies.verdicts import no_loss, target_verdict, verdict
from gpnas.report import stats

NARROW, WIDE = [1.0, 1.1, 1.2], [-1.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("values", "sign", "text"),
    [
        (NARROW, 1, "yes"),
        (NARROW, -1, "no"),
        ([-value for value in NARROW], -1, "yes"),
        (WIDE, 1, "not shown with 3 seeds (half-width 2.6)"),
        (WIDE, -1, "not shown with 3 seeds (half-width 2.6)"),
        ([1.0], 1, "not shown with 1 seed"),
        ([1.0, 1.0], 1, "yes"),
        ([0.0, 0.0], 1, "not shown with 2 seeds (all equal)"),
    ],
)
def test_verdict(values, sign, text):
    assert verdict(stats.estimate(values), sign) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (NARROW, "no"),
        ([-value for value in NARROW], "yes"),
        ([0.0, 0.0], "yes"),
        ([0.1, 0.1], "no"),
        (WIDE, "no loss shown with 3 seeds (half-width 2.6)"),
        ([-1.0], "no loss shown with 1 seed"),
    ],
)
def test_no_loss(values, text):
    assert no_loss(stats.estimate(values)) == text


@pytest.mark.parametrize(
    ("values", "sign", "text"),
    [
        (NARROW, 1, "yes"),
        (NARROW, -1, "no"),
        (WIDE, 1, "not shown with 3 seeds (mean above by 0.17, half-width 2.59)"),
        ([-0.1, 0.0, 0.05], 1, "not shown with 3 seeds (mean below by 0.02, half-width 0.19)"),
        ([1.0], 1, "not shown with 1 seed (mean above by 1.00)"),
        ([1e-12, 1e-12], -1, "yes"),
        ([0.1, 0.1], -1, "no"),
    ],
)  # fmt: skip
def test_targets(values, sign, text):
    assert target_verdict(stats.estimate(values), sign) == text
