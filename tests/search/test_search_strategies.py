"""Strategies: functions of the history, which find what they look for."""

import functools
import inspect
import re

import numpy as np
import pytest

from gpnas.errors import UserError
from gpnas.search import STRATEGIES, Trial, choices, pareto, search
from gpnas.search.build import build_strategy
from gpnas.search.strategies import _lanas_released as lanas_released
from gpnas.search.strategies import _lemonade
from gpnas.search.strategies._lanas import fit_ridge


def turned(by):
    """A move: one choice, `by` options further on."""

    def move(architecture, rng):
        at = int(rng.integers(4))
        option = chr(min(max(ord(architecture[at]) + by, ord("a")), ord("d")))
        return (*architecture[:at], option, *architecture[at + 1 :])

    return move


def size(architecture):
    return {"size": float(sum(ord(option) - ord("a") for option in architecture))}


SPACE = choices([["a", "b", "c", "d"]] * 4, cost=size)
SPACE = SPACE._replace(moves={"grow": turned(1), "cut": turned(-1)})
SIZE = 4**4


def error(trial):
    """Zero for all d, with a valley for all a."""
    ranks = [ord(option) - ord("a") for option in trial.architecture]
    found = 5.0 if not any(ranks) else float(sum((3 - r) ** 2 for r in ranks))
    return {"error": found, "size": float(sum(ranks))}


def strategy(name, space=SPACE):
    arguments = {
        "evolution": {"population": 10, "sample": 4},
        "lamcts": {"leaf": 10, "draws": 100},
        "predictor": {"candidates": 30, "features": 20},
        "asha": {"budgets": (1, 2, 4), "reduction": 2},
        "hyperband": {"budgets": (1, 2, 4), "reduction": 2},
        "successive_halving": {"budgets": (1, 2, 4), "reduction": 2},
        "nsga2": {"population": 10},
        "bulk_and_cut": {"first": 10, "bulk": 15},
    }
    make = functools.partial(STRATEGIES[name], space, **arguments.get(name, {}))
    if name in ("nsga2", "lemonade", "bulk_and_cut"):
        return make(("error", "size"))
    return make() if name == "random" else make(metric="error")


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_search_that_goes_on_is_one_that_was_not_interrupted(name):
    whole = search(strategy(name), error, 60, seed=3)
    for at in (0, 1, 17, 59):
        assert search(strategy(name), error, 60, seed=3, history=whole[:at]) == whole
    assert search(strategy(name), error, 60, seed=4) != whole


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_what_was_evaluated_is_not_evaluated_again(name):
    asked = []

    def evaluate(trial):
        asked.append((trial.architecture, trial.budget))
        return error(trial)

    trials = search(strategy(name), evaluate, 80, seed=0)
    assert len(asked) == len(set(asked)) == 80
    assert [t.number for t in trials] == list(range(len(trials)))
    for trial in trials:
        assert trial.metrics == error(trial)
        before = {(t.architecture, t.budget) for t in trials[: trial.number]}
        assert (trial.repeats is None) == ((trial.architecture, trial.budget) not in before)
        SPACE.check(trial.architecture)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evolution", "lamcts", "lanas", "local", "predictor"])
def test_sooner_at_the_optimum_than_random(name):
    def needed(propose, seed):
        trials = search(propose, error, SIZE, seed, stop=lambda t: t.metrics["error"] == 0)
        return len({t.architecture for t in trials})

    ours = np.mean([needed(strategy(name), seed) for seed in range(10)])
    assert ours < 0.6 * (SIZE + 1) / 2  # what random search takes on average


@pytest.mark.parametrize("name", ["random", "lanas", "local"])
def test_a_space_can_be_exhausted(name):
    trials = search(strategy(name), error, SIZE, seed=0)
    assert {t.architecture for t in trials} == set(SPACE.enumerate_all())


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_spaces_that_cannot_be_listed(name):
    trials = search(strategy(name, SPACE._replace(enumerate_all=None)), error, 40, seed=0)
    assert len({(t.architecture, t.budget) for t in trials}) == 40


def test_evolution_lets_the_best_of_a_sample_have_a_child():
    trials = search(strategy("evolution"), error, 60, seed=0)
    for trial in trials[10:]:
        assert trial.number - 10 <= trial.parent < trial.number
        parent = trials[trial.parent]
        assert trial.architecture in SPACE.neighbours(parent.architecture)


def test_local_search_stays_with_a_centre_until_nothing_is_better():
    trials = search(strategy("local"), error, 100, seed=0)
    starts = [t.number for t in trials if t.parent is None]
    assert starts[0] == 0
    for begin, end in zip(starts, [*starts[1:], None], strict=True):
        walk = trials[begin:end]
        centre = walk[0]
        for trial in walk[1:]:
            assert trial.parent == centre.number
            if trial.metrics["error"] < centre.metrics["error"]:
                centre = trial


def test_lemonade_has_children_of_the_front():
    trials = search(strategy("lemonade"), error, 60, seed=0)
    for trial in trials[10:]:
        front = {t.number for t in pareto.archive(trials[: trial.number], ("error", "size"))}
        assert trial.parent in front
        assert trial.architecture in SPACE.neighbours(trials[trial.parent].architecture)


def test_lemonade_prefers_where_the_front_is_thin():
    crowd = [Trial(i, ("a", "a", "b", "c"), {"error": 1.0, "size": 3.0}) for i in range(30)]
    near = [a for a in SPACE.enumerate_all() if size(a)["size"] == 3]
    crowd = [trial._replace(architecture=near[i % len(near)]) for i, trial in enumerate(crowd)]
    lone = Trial(30, ("d", "d", "d", "c"), {"error": 0.5, "size": 11.0})

    def share(kde):
        propose = STRATEGIES["lemonade"](SPACE, ("error", "size"), kde=kde)
        rngs = map(np.random.default_rng, range(100))
        return np.mean([propose([*crowd, lone], rng).parent == 30 for rng in rngs])

    assert share(True) > 3 * share(False)


def test_lemonade_takes_costs_that_depend_on_each_other():
    def twice(architecture):
        params = size(architecture)["size"]
        return {"params": params, "macs": 2 * params}

    space = choices([["a", "b", "c", "d"]] * 4, cost=twice)
    names = ("error", "params", "macs")
    propose = STRATEGIES["lemonade"](space, names)
    trials = search(propose, lambda t: error(t) | twice(t.architecture), 60, seed=0)
    assert len(trials) == 60


def test_bulk_and_cut_enlarges_members_of_two_fronts_and_then_cuts_them():
    trials = search(strategy("bulk_and_cut"), error, 60, seed=0)
    made = [trial for trial in trials[10:] if trial.parent is not None]
    assert len(made) > 30
    for trial in made:
        step = size(trial.architecture)["size"] - size(trials[trial.parent].architecture)["size"]
        assert step == (1 if trial.number < 25 else -1)
    ranks = []
    for trial in made:
        before = trials[: trial.number]
        ranks.append(pareto.ranks(pareto.points(before, ("error", "size")))[trial.parent])
    assert set(ranks) == {0, 1} and np.mean(ranks) < 0.4
    cut = [trial.parent for trial in made if trial.number >= 25]
    assert len({*cut}) > 0.6 * len(cut)  # before a member of the front is cut again


def test_a_space_without_moves_cannot_be_cut():
    for known, missing in (((), "grow and cut"), (("grow",), "cut"), (("cut",), "grow")):
        space = SPACE._replace(moves={name: SPACE.moves[name] for name in known})
        with pytest.raises(UserError, match=f"strategy.name: got 'bulk_and_cut'.*to {missing}$"):
            build_strategy(space, ("error", "size"), {"name": "bulk_and_cut"})


def test_the_planes_of_lanas_are_ridge_regression():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=50)
    split = fit_ridge(x, y, 2.0)
    design = np.concatenate([np.column_stack([x, np.ones(50)]), np.sqrt(2) * np.eye(4, 5)])
    expected = np.linalg.lstsq(design, np.append(y, np.zeros(4)), rcond=None)[0]
    np.testing.assert_allclose([*split.weights, split.intercept], expected, rtol=1e-10)
    assert split.threshold == pytest.approx((x @ split.weights + split.intercept).mean())
    assert (split.good(x) == (x @ split.weights + split.intercept >= split.threshold)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "evolution", "population": 0}, "strategy.population: got 0, allowed: 1 or more"),
        ({"name": "evolution", "sample": "ten"}, "strategy.sample: got 'ten', allowed: a value of"),
        ({"name": "lanas", "ridge": -1}, "strategy.ridge: got -1"),
        ({"name": "predictor", "ridge": 0}, "strategy.ridge: got 0"),
        ({"name": "lanas", "height": 13}, "strategy.height: got 13, allowed: a number in [1, 12]"),
        ({"name": "lanas", "regressor": "adam"}, "strategy.regressor: got 'adam', allowed: ridge,"),
        ({"name": "lanas", "exploration": float("nan")}, "strategy.exploration: got nan"),
        ({"name": "lamcts", "leaf": 2.5}, "strategy.leaf: got 2.5"),
        ({"name": "asha", "budgets": ()}, "strategy.budgets: got ()"),
        ({"name": "asha", "budgets": (4, 1)}, "strategy.budgets: got (4, 1)"),
        ({"name": "asha", "budgets": 3}, "strategy.budgets: got 3"),
        ({"name": "hyperband", "budgets": (1, 2), "reduction": 1}, "strategy.reduction: got 1"),
    ],
)
def test_values_that_a_strategy_cannot_have(settings, message):
    with pytest.raises(UserError, match=re.escape(message)):
        build_strategy(SPACE, ("error",), settings)


FIELDS = [
    (name, field)
    for name, make in STRATEGIES.items()
    for field in inspect.signature(make).parameters
    if field not in ("space", "metric", "objectives")
]


@pytest.mark.parametrize("nonsense", ["ten", None, -1, float("nan"), (), (3, 2)])
@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_no_field_of_any_strategy_takes_nonsense(name, field, nonsense):
    needed = {"budgets": (1, 2)} if (name, "budgets") in FIELDS else {}
    objectives = ("error", "size") if name in ("nsga2", "lemonade", "bulk_and_cut") else ("error",)
    with pytest.raises(UserError, match=re.escape(f"strategy.{field}: got {nonsense!r}")):
        build_strategy(SPACE, objectives, {"name": name} | needed | {field: nonsense})


def test_lanas_as_released_goes_on_from_its_last_fit():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.uniform(size=40)
    start = lanas_released.initial_weights(7, 3)
    found = lanas_released.refit(start, x, y, 60)
    weights, moment, second = start[0].copy(), np.zeros(4), np.zeros(4)
    design = np.column_stack([x, np.ones(40)])
    for step in range(1, 61):
        slope = 2 * design.T @ (design @ weights - y) / 40
        slope *= min(1, 5 / np.linalg.norm(slope))
        moment, second = 0.9 * moment + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        scale = np.sqrt(second / (1 - 0.999**step)) + 1e-8
        weights -= 1e-5 * moment / (1 - 0.9**step) / scale
    np.testing.assert_allclose(found[0], weights, atol=1e-6)
    predicted = design @ found[0]
    good = y >= predicted.mean()
    alone = lanas_released.refit(start[1:2], x[good], y[good], 60)
    np.testing.assert_allclose(found[1], alone[0], atol=1e-6)
    assert not np.allclose(found[1], start[1], atol=1e-6)


@pytest.mark.parametrize("regressor", ["ridge", "released"])
def test_lanas_resumes_by_either_regressor(regressor):
    propose = STRATEGIES["lanas"](SPACE, "error", regressor=regressor, batch=5)
    whole = search(propose, error, 30, seed=1)
    anew = STRATEGIES["lanas"](SPACE, "error", regressor=regressor, batch=5)
    assert search(anew, error, 30, seed=1, history=whole[:22]) == whole


def test_places_far_from_the_front_have_finite_weights():
    """The kernel density is 0 there in float64."""
    front = [[1000.0], [1001.0], [1003.0]]
    far = _lemonade._rarity([[2000.0], [3000.0], [1001.0]], front, kde=True)
    assert np.isfinite(far).all() and far[0] == far[1] == pytest.approx(1e3 * far[2])
