"""The wall time of a front and of pruning only."""

import pytest

from experiments.studies.front_rivals import space
from experiments.studies.front_wall import get_config, run
from experiments.studies.study import Options
from gpnas.models import ConvNet
from gpnas.records import append_line, read_lines
from tests.experiments.studies.test_studies_front_rivals import (
    IMAGE,
    LEVELS,
    begun,
    front_records,
    model,
)


@pytest.mark.exhaustive
def test_each_round_trains_both(tmp_path):
    costs = space.width_costs(model(ConvNet.widths), begun(ConvNet.widths), IMAGE)
    config = get_config()
    config.front.data.name, config.front.data.image_size = "digits", 0
    config.front.front, config.front.elastic = LEVELS, False
    config.front.train.epochs, config.front.branch_epochs = 1, 1
    config.front.method.update({"every": 3, "window": 2})
    config.rates, config.rounds = (0.1,), 2
    path = tmp_path / "results" / "front" / "records.jsonl"
    path.parent.mkdir(parents=True)
    for record in front_records(costs, LEVELS, (100, 0)):
        append_line(path, record)
    options = Options(tmp_path / "results", tmp_path / "runs", "", lambda: False)
    for _ in range(2):
        run(config, options)
        rounds = read_lines(tmp_path / "results" / "front_wall" / "records.jsonl")
        assert [one["round"] for one in rounds] == [0, 1]
    assert all(one["seconds"]["front"] > 0 < one["seconds"]["pruning"] for one in rounds)
    assert not (tmp_path / "runs").exists()
