"""The wall time of a front and of pruning only."""

import pytest

from experiments.studies import front_wall
from experiments.studies.front_rivals import space
from experiments.studies.study import Options
from gpnas.errors import UserError
from gpnas.models import ConvNet
from gpnas.records import append_line, read_lines
from tests.experiments.studies.test_studies_front_rivals import (
    IMAGE,
    LEVELS,
    begun,
    front_records,
    model,
)


@pytest.mark.slow
def test_each_round_trains_both_at_their_rates(tmp_path, monkeypatch):
    costs = space.width_costs(model(ConvNet.widths), begun(ConvNet.widths), IMAGE)
    config, trained = front_wall.get_config(), []
    config.front.data.name, config.front.data.image_size = "digits", 0
    config.front.front, config.rates, config.rounds = LEVELS, (0.1,), 2
    (tmp_path / "results" / "front").mkdir(parents=True)
    for record in front_records(costs, LEVELS, (100, 0)):
        append_line(tmp_path / "results" / "front" / "records.jsonl", record)

    def front(config, folder, data):
        trained.append(("front", config.train.epochs, config.optimizer.learning_rate))

    def pruning(context, arm, seed, rate):
        trained.append((arm, seed, rate))

    monkeypatch.setattr(front_wall, "train_front", front)
    monkeypatch.setattr(front_wall, "develop_each", pruning)
    options = Options(tmp_path / "results", tmp_path / "runs", "", lambda: False)
    with pytest.raises(UserError, match="records of 'pruning only' with the tuning seeds"):
        front_wall.run(config, options)
    tuned = {"arm": "pruning only", "seed": 100, "rate": 0.2, "largest": 1.0}
    (tmp_path / "results" / "front_rivals").mkdir()
    append_line(
        tmp_path / "results" / "front_rivals" / "records.jsonl",
        tuned | {"networks": [{"val_error": 1.0}]},
    )
    for _ in range(2):  # nothing is done twice
        front_wall.run(config, options)
        assert trained == 2 * [("front", 14, 0.1), ("pruning only", 0, 0.2)]
    rounds = read_lines(tmp_path / "results" / "front_wall" / "records.jsonl")
    assert [(one["round"], [*one["seconds"]]) for one in rounds] == [
        (number, ["front", "pruning"]) for number in range(2)
    ]
