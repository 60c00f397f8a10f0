"""Wall time of a front over that of runs that only prune; a target of docs/front.md."""

import functools
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from experiments.benchmarks.training import seconds_of
from experiments.studies.front.run import chosen_rates, front_config
from experiments.studies.front_rivals.growing import PRUNING, develop_each
from experiments.studies.front_rivals.run import chosen, make_context
from experiments.studies.front_wall.config import get_config
from experiments.studies.study import Options, Study
from gpnas.errors import UserError
from gpnas.provenance import provenance
from gpnas.records import append_line, read_lines
from gpnas.timing import without_stored_programs
from gpnas.train import train_front

FRONT = "14 epochs"


def run(config: ConfigDict, options: Options) -> None:
    """Appends the missing rounds.

    Raises:
      UserError: If `front` or `front_rivals` have no records.
    """
    path = options.results / config.study / "records.jsonl"
    context = make_context(config, options)
    (seed,) = config.seeds
    fronts, rivals = (
        read_lines(options.results / name / "records.jsonl") for name in ("front", "front_rivals")
    )
    rate = chosen_rates(fronts, config)["networks"]
    case = chosen(rivals, config, PRUNING)
    if case is None:
        allowed = f"records of {PRUNING!r} with the tuning seeds: reproduce front_rivals"
        raise UserError("results", str(options.results), allowed)
    front = front_config(config, FRONT, rate, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(len(read_lines(path)), config.rounds):
        if options.stopped():
            return
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            inside = context._replace(options=options._replace(workdir=place))
            runs: dict[str, Callable[[], Any]] = {
                "front": functools.partial(train_front, front, place / "front", context.data),
                "pruning": functools.partial(develop_each, inside, PRUNING, seed, case.rate),
            }
            taken = {name: _seconds(train) for name, train in runs.items()}
        about = {"study": config.study, "round": number, "config": config.to_dict()}
        append_line(path, about | provenance() | {"seconds": taken})


def _seconds(train: Callable[[], Any]) -> float:
    with without_stored_programs():
        return round(seconds_of(train), 3)


STUDY = Study(get_config, run, needs=("front", "front_rivals"))
