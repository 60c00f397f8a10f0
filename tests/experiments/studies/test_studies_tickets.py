"""Lottery tickets from records: which training is which, and whether the signs show."""

import pytest

from experiments.studies.study import lengthen
from experiments.studies.tickets import PAPER_EPOCHS
from experiments.studies.tickets.config import get_config
from experiments.studies.tickets.tables import (
    PAPER_STEPS,
    caption,
    sign_table,
    signs,
    ticket_table,
    training_steps,
    trainings,
)

ROUNDS, LENGTH = 15, 4


def record(seed, *, tickets_win=True):
    """A run with controls, four looks a training, in which tickets do as the paper says or not."""
    looks, curve = [], []
    for i in range(1 + 3 * ROUNDS):
        cuts, ticket = (i + 2) // 3, i % 3 == 0
        good = cuts == 0 or (ticket and tickets_win)
        best = 2 if ticket and cuts and tickets_win else 3  # the look with the lowest loss
        for j in range(1, LENGTH + 1):
            step = i * LENGTH + j
            error = 2.0 + 0.01 * seed + (0.0 if good else (0.2 + 0.001 * seed) * cuts)
            looks.append({"step": step, "loss": 1.0 + abs(j - best), "error": error})
            curve.append({"step": step, "density": 0.8**cuts})
    return {
        "config": {"method": {"controls": True, "rounds": ROUNDS}},
        "total_steps": LENGTH * (1 + 3 * ROUNDS),
        "evaluations": looks,
        "curve": curve,
    }


def test_which_training_is_which():
    found = trainings(record(0))
    assert len(found) == 1 + 3 * ROUNDS
    assert [t.kind for t in found[:7]] == [
        "ticket", "reinitialised", "random", "ticket", "reinitialised", "random", "ticket",
    ]  # fmt: skip
    assert [t.round for t in found[:7]] == [0, 1, 1, 1, 2, 2, 2]
    assert [t.stop for t in found[:4]] == [3, 3, 3, 2]
    assert found[-1].density == pytest.approx(0.8**ROUNDS)
    assert found[1].error == pytest.approx(2.2) and found[3].error == pytest.approx(2.0)


def test_without_controls_all_are_tickets():
    plain = record(0) | {
        "config": {"method": {"controls": False, "rounds": 3}},
        "total_steps": LENGTH * 4,
    }
    assert [(t.round, t.kind) for t in trainings(plain)] == [(i, "ticket") for i in range(4)]


@pytest.mark.parametrize("win", [True, False])
def test_signs(win):
    records = [record(seed, tickets_win=win) for seed in range(3)]
    open_ = "not shown with 3 seeds (all equal)"
    assert [shows for _, shows, _ in signs(records)] == (
        ["yes"] * 3 if win else ["no", open_, open_]
    )
    text = sign_table(records).to_text()
    assert text.count("yes") == (3 if win else 0)
    assert ("33 % sooner" in text) == win


def test_the_table():
    lines = ticket_table("tickets", [record(0), record(1)]).to_text().splitlines()
    assert len(lines) == 2 + 1 + ROUNDS + 1
    assert lines[2].split()[:2] == ["100.0", "%"]
    assert lines[-2].split()[:2] == ["3.5", "%"]
    assert "2 trials" in lines[-1]


def test_the_caption_says_the_steps_of_the_records():
    text = caption([record(0), record(1)])
    assert text.endswith("; trainings of 4 steps (paper: 50,000)")
    longer = record(2) | {"total_steps": 2 * LENGTH * (1 + 3 * ROUNDS)}
    assert "trainings of 4/8 steps" in caption([record(0), longer])


def test_the_papers_budget():
    config = get_config()
    lengthen(config, PAPER_EPOCHS)
    ((name, arm),) = config.arms.items()
    assert config.only == name and config.study == "tickets"
    steps = arm.train.epochs * (54_000 // arm.train.batch_size)
    planned = {"config": {"method": arm.method.to_dict()}, "total_steps": steps}
    length = training_steps(planned)
    assert length * (1 + 3 * ROUNDS) == steps  # whole epochs
    assert 0 <= length - PAPER_STEPS < 54_000 // arm.train.batch_size
