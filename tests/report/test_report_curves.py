"""Curves: averages, rates that lose no weight, never too many points."""

import numpy as np

from gpnas.report import Run, _curves


def _run(points, validation=()):
    record = {"metrics": {}, "curve": points}
    return Run("r", "s", "a", 0, {}, record, validation=tuple(validation))


def test_density_is_the_mean_over_seeds():
    runs = [_run([{"step": s, "density": d} for s in (10, 20)]) for d in (0.2, 0.4)]
    curve = _curves.density_curve(runs)
    np.testing.assert_allclose(curve.mean, [0.3, 0.3])
    np.testing.assert_allclose(curve.low, [0.2, 0.2])
    np.testing.assert_allclose(curve.high, [0.4, 0.4])


def test_rates_lose_no_weight_when_points_are_merged():
    points = [{"step": s, "grown": s % 7, "pruned": 1} for s in range(1, 2001)]
    curve = _curves.rate([_run(points)], "grown")
    assert len(curve.steps) <= _curves.MAX_POINTS
    steps = np.diff(curve.steps)
    total = sum(s % 7 for s in range(1, 2001))
    np.testing.assert_allclose((curve.mean[1:] * steps).sum(), total)


def test_the_first_point_counts_from_the_start():
    curve = _curves.rate([_run([{"step": 100, "grown": 50, "pruned": 0}])], "grown")
    np.testing.assert_allclose(curve.steps, [0, 100])
    np.testing.assert_allclose(curve.mean, [0, 0.5])


def test_a_short_interval_between_points_is_no_peak():
    points = [{"step": s, "grown": 50, "pruned": 0} for s in (100, 200, 210, 300, 400, 420)]
    curve = _curves.rate([_run(points)], "grown")
    np.testing.assert_allclose(curve.steps, [0, 100, 200, 300, 420])
    np.testing.assert_allclose(curve.mean, [0, 0.5, 0.5, 1.0, 100 / 120])


def test_long_curves_are_thinned_to_steps_that_exist():
    points = [{"step": 3 * s, "density": 1 / s} for s in range(1, 1001)]
    curve = _curves.density_curve([_run(points)])
    assert len(curve.steps) == _curves.MAX_POINTS
    assert (curve.steps[0], curve.steps[-1]) == (3, 3000)
    np.testing.assert_allclose(curve.mean, 3 / curve.steps)


def test_seeds_of_different_length_share_what_all_have():
    runs = [_run([{"step": s, "density": 0.5} for s in range(0, n, 10)]) for n in (50, 100)]
    assert _curves.density_curve(runs).steps[-1] == 40


def test_missing_and_broken_points_are_left_out():
    points = [{"step": 1, "density": float("nan")}, {"density": 1}, {"step": 2, "density": 0.5}]
    np.testing.assert_allclose(_curves.density_curve([_run(points)]).mean, [0.5])
    assert _curves.density_curve([_run([])]) is None
