"""Lottery tickets and their controls: early-stopping step and error."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.studies.verdicts import no_loss, verdict
from gpnas.report import Cell, Column, Table, formatting, stats

KINDS = ("ticket", "reinitialised", "random")
PAPER_STEPS = 50_000  # of a training
Record = Mapping[str, Any]


class Training(NamedTuple):
    """One of the trainings of a run.

    Attributes:
      round: Number of earlier prunings; 0 is the dense network.
      kind: "ticket", "reinitialised" (the ticket's masks) or "random" (masks shuffled).
      density: Fraction of active weights.
      stop: Step of the lowest validation loss, at which early stopping would stop.
      error: Validation error at that step, in %.
    """

    round: int
    kind: str
    density: float
    stop: int
    error: float


def trainings(record: Record) -> list[Training]:
    """Returns the trainings of a record of the method `lottery`, in order."""
    total, length = record["total_steps"], training_steps(record)
    turns = _turns(record)
    found = []
    for i in range(total // length):
        begin, end = i * length, (i + 1) * length
        evaluations = [one for one in record["evaluations"] if begin < one["step"] <= end]
        points = [point for point in record["curve"] if begin < point["step"] <= end]
        best = min(evaluations, key=lambda one: one["loss"])
        kind = KINDS[i % turns]  # a ticket comes after its controls
        cuts = (i + turns - 1) // turns
        found.append(
            Training(cuts, kind, points[-1]["density"], best["step"] - begin, best["error"])
        )
    return found


def training_steps(record: Record) -> int:
    """Returns the number of steps of each training."""
    return record["total_steps"] // (1 + _turns(record) * record["config"]["method"]["rounds"])


def _turns(record: Record) -> int:
    return 3 if record["config"]["method"]["controls"] else 1


def caption(records: Sequence[Record]) -> str:
    """Returns the caption of `ticket_table`, with the steps of the records' trainings."""
    lengths = "/".join(f"{n:,}" for n in sorted(set(map(training_steps, records))))
    start = f"Lottery tickets, LeNet-300-100 on MNIST; trainings of {lengths} steps"
    return f"{start} (paper: {PAPER_STEPS:,})"


def ticket_table(caption: str, records: Sequence[Record]) -> Table:
    """Returns one row per round: remaining weights, and stopping step and error of each kind."""
    by_round: dict[tuple[int, str], list[Training]] = {}
    for record in records:
        for training in trainings(record):
            by_round.setdefault((training.round, training.kind), []).append(training)
    columns = [Column("remaining")]
    for kind in KINDS:
        columns += [Column(f"{kind}: stops at step"), Column("validation error %")]
    rows = []
    for cuts in sorted({cuts for cuts, _ in by_round}):
        row = [f"{100 * by_round[cuts, KINDS[0]][0].density:.1f} %"]
        for kind in KINDS:
            same = by_round.get((cuts, kind), [])
            stop, error = (
                stats.estimate(t.stop for t in same),
                stats.estimate(t.error for t in same),
            )
            row += [stats.interval_text(stop, 0), stats.estimate_text(error)]
        rows.append([Cell(text) for text in row])
    note = (
        f"{formatting.plural(len(records), 'trial')}. The step with the lowest validation loss,"
        " where early stopping would stop, and the validation error there; mean ± half the 95 %"
        " interval."
    )
    return Table(caption, columns, rows, [note])


def signs(records: Sequence[Record]) -> list[tuple[str, str, str]]:
    """Tests what the hypothesis predicts: `(prediction, verdict, numbers)`, all texts.

    References:
      Frankle & Carbin 2019 (arXiv:1803.03635), section 2.
    """
    runs = [{(t.round, t.kind): t for t in trainings(record)} for record in records]
    rounds = sorted({cuts for cuts, _ in runs[0]})
    dense = stats.estimate(run[0, "ticket"].error for run in runs)

    def at(remaining: float) -> int:
        return min(rounds, key=lambda r: abs(runs[0][r, "ticket"].density - remaining))

    def gap(cuts: int, kind: str, other: tuple[int, str]) -> stats.Estimate | None:
        return stats.estimate(run[cuts, kind].error - run[other].error for run in runs)

    small, fifth = at(0.036), at(0.211)
    loss = gap(small, "ticket", (0, "ticket"))
    sooner = stats.estimate(1 - run[fifth, "ticket"].stop / run[0, "ticket"].stop for run in runs)
    behind = [gap(cuts, "reinitialised", (cuts, "ticket")) for cuts in rounds if cuts >= fifth]
    last, behind_dense = (stats.interval_text(g, sign="+") for g in (behind[-1], loss))
    assert dense is not None and loss is not None and sooner is not None
    fall = [verdict(g) for g in behind if g is not None]
    level = [text for text in fall if text != "yes"]
    return [
        (
            "tickets match the dense network down to 3.6 % remaining",
            no_loss(loss),
            f"dense {stats.estimate_text(dense)} %, ticket minus dense {behind_dense} points",
        ),
        (
            "at 21 % remaining early stopping comes sooner (paper: 38 %)",
            verdict(sooner),
            f"{100 * sooner.mean:.0f} % sooner"
            + (f", ± {100 * sooner.half:.0f}" if sooner.half is not None else ""),
        ),
        (
            "re-initialised ones fall behind from 21 % on",
            level[-1] if level else "yes",
            f"in {fall.count('yes')} of {len(behind)} rounds; at the last by {last} points",
        ),
    ]


def sign_table(records: Sequence[Record]) -> Table:
    """Tabulates the predictions of `signs`, one row each."""
    columns = [Column(label, numeric=False) for label in ("sign", "shows", "figures")]
    rows = [[Cell(text) for text in sign] for sign in signs(records)]
    return Table("Claims of the paper", columns, rows)
