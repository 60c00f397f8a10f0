"""Strategies that give few a large budget: brackets, promotions, and a clock that repeats."""

import functools

import numpy as np
import pytest

from gpnas.errors import UserError
from gpnas.search import STRATEGIES, Trial, choices, search, search_together, simulate

SPACE = choices([[str(i) for i in range(10)]] * 3)
BUDGETS = (1, 4, 16)


def evaluate(trial):
    """Small budgets see the error with noise that belongs to the architecture."""
    code = int("".join(trial.architecture))
    return {"error": code / 1000 + (code * 7919 % 1000) / 4000 / trial.budget}


def duration(trial):
    return trial.budget * (1 + int(trial.architecture[0]) / 10)


def stages(trials):
    """(budget, trials of it) in the order of the history."""
    found = []
    for trial in trials:
        if not found or found[-1][0] != trial.budget or (trial.parent is None) != found[-1][2]:
            found.append([trial.budget, 0, trial.parent is None])
        found[-1][1] += 1
    return [tuple(stage[:2]) for stage in found]


def test_successive_halving_keeps_one_in_four():
    trials = search(STRATEGIES["successive_halving"](SPACE, "error", BUDGETS), evaluate, 42, 0)
    assert stages(trials) == [(1, 16), (4, 4), (16, 1)] * 2
    ranked = sorted(trials[:16], key=lambda t: t.metrics["error"])
    assert [t.parent for t in trials[16:20]] == [t.number for t in ranked[:4]]


def test_hyperband_has_brackets_from_every_budget():
    trials = search(STRATEGIES["hyperband"](SPACE, "error", BUDGETS), evaluate, 30, 0)
    assert stages(trials) == [(1, 16), (4, 4), (16, 1), (4, 6), (16, 1), (16, 2)]
    fresh = [t for t in trials if t.parent is None]
    assert len({t.architecture for t in fresh}) == len(fresh)


@pytest.mark.parametrize("name", ["successive_halving", "hyperband"])
def test_a_stage_waits_for_the_one_before(name):
    history = [Trial(i, (str(i), "0", "0"), {"error": 1.0}, budget=1) for i in range(16)]
    propose = STRATEGIES[name](SPACE, "error", BUDGETS)
    assert propose(history, np.random.default_rng(0)).parent == 0
    history[3] = history[3]._replace(metrics=None)
    assert propose(history, np.random.default_rng(0)) is None


def test_a_stage_waits_for_repeats_as_well():
    space = choices([("0", "1")])
    propose = STRATEGIES["successive_halving"](space, "error", (1, 2), 2, first=4)

    def own(trials):
        return [{"error": float(trial.architecture[0])} for trial in trials]

    found = search_together(propose, own, 4, together=3)
    assert [(t.budget, t.repeats is None) for t in found[:4]] == [(1, True)] * 2 + [(1, False)] * 2
    assert found[4].budget == 2 and found[4].metrics == {"error": 0.0}


def test_asha_promotes_the_best_quarter_and_nobody_twice():
    trials = search(STRATEGIES["asha"](SPACE, "error", BUDGETS), evaluate, 200, 0)
    for low, high in ((1, 4), (4, 16)):
        parents = [t.parent for t in trials if t.budget == high]
        rung = [t for t in trials if t.budget == low]
        assert len(parents) == len(set(parents)) >= len(rung) // 4
        for trial in trials:
            if trial.budget == high:
                before = [t for t in rung if t.number < trial.number]
                ranked = sorted(before, key=lambda t: t.metrics["error"])
                assert trial.parent in {t.number for t in ranked[: len(before) // 4]}


@pytest.mark.parametrize("name", ["asha", "successive_halving"])
def test_many_workers_on_a_simulated_clock(name):
    propose = STRATEGIES[name](SPACE, "error", BUDGETS)
    ended = simulate(propose, evaluate, duration, workers=8, until=60.0, seed=1)
    assert simulate(propose, evaluate, duration, workers=8, until=60.0, seed=1) == ended
    times = [time for time, _ in ended]
    assert times == sorted(times) and times[-1] <= 60
    assert len({trial.number for _, trial in ended}) == len(ended)
    spent = sum(duration(t) for _, t in ended)
    assert spent <= 8 * 60
    if name == "asha":  # nobody waits; what was under way at the end is not counted
        assert spent > 8 * (60 - max(duration(t) for _, t in ended))


def test_one_worker_is_a_search():
    propose = STRATEGIES["asha"](SPACE, "error", BUDGETS)
    ended = [trial for _, trial in simulate(propose, evaluate, lambda trial: 1.0, 1, 50.0, 2)]
    assert ended == search(propose, evaluate, 50, 2)


def test_a_first_stage_that_leaves_no_trial_at_the_last_budget():
    make = functools.partial(STRATEGIES["successive_halving"], SPACE, "error", (1, 4, 16), 4)
    with pytest.raises(UserError, match=r"strategy\.first: got 15, allowed: 0, or 16 or more"):
        make(first=15)
    make(first=16)
    make(first=0)
