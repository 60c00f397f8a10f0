"""gpnas.train on tables and texts: the task decides what targets are, and takes no others."""

import flax.linen as nn
import numpy as np
import pytest
from ml_collections import ConfigDict

from gpnas import data
from gpnas.data import Fields, Source
from gpnas.errors import UserError
from gpnas.train import _study, base, load_data, make_plan, train


class Embedding(nn.Module):
    """A next-token model without context."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, tokens, train: bool = False):
        return nn.Dense(self.num_classes)(nn.Embed(self.num_classes, 8)(tokens))


def labelled() -> Source:
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    return Source(Fields("features", "labels", 2), (x, x[:, :2] > 0))


@pytest.fixture
def make(tmp_path):
    """A config on a table or a text of a temporary folder."""
    numbers = np.random.default_rng(0).normal(size=(80, 3))
    rows = [",".join(map(str, (*x, x @ (1, 2, 3)))) for x in numbers]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,y", *rows]))
    (tmp_path / "t.txt").write_text("one two three four five six seven\n" * 60)

    def config(kind, task, **fields):
        made = base()
        made.data.name = (
            kind if ":" in kind else f"{kind}:{tmp_path}/t.{kind.replace('text', 'txt')}"
        )
        made.data.cache_dir = str(tmp_path / "cache")
        made.task.name, made.model.widths = task, (8, 4)
        made.train.epochs, made.train.batch_size, made.train.tensorboard = 2, 16, False
        made.update(fields)
        return made

    return config


@pytest.mark.slow
def test_regression_on_a_table(make, tmp_path):
    config = make("csv", "regression")
    assert load_data(config).fields == Fields(
        "features", "value", 1, ("y",), columns=("a", "b", "c")
    )
    record = train(config, tmp_path / "run")
    assert record["class_names"] == ["y"]
    assert np.isfinite(record["metrics"]["test_rmse_last"])


def test_language_on_a_text(make):
    config = make("text", "language")
    config.model = ConfigDict({**base().model.to_dict(), "name": f"{__name__}:Embedding"})
    config.data.length = 16
    ds = load_data(config)
    plan = make_plan(config, ds)
    assert (plan.inputs.shape, plan.inputs.dtype) == ((16,), np.int32)
    assert plan.task.outputs(ds) == (16, len(set("one two three four five six seven\n")))


def test_labels_of_arrays(make):
    config = make(f"{__name__}:labelled", "multilabel")
    assert make_plan(config, load_data(config)).inputs.shape == (3,)


@pytest.mark.parametrize(
    "kind, task, message",
    [
        ("csv", "classification", r"two classes|task\.name=regression"),
        ("csv", "multilabel", r"column 'y'.*0 or 1"),
        ("csv", "language", "task.name: got 'language', .*table csv:"),
        ("text", "classification", r"inputs: tokens; targets: next\).*allowed: targets: class"),
        (f"{__name__}:labelled", "regression", "targets: labels.*allowed: targets: value"),
    ],
)
def test_targets_that_a_task_does_not_take(make, kind, task, message):
    config = make(kind, task)
    with pytest.raises(UserError, match=message):
        make_plan(config, load_data(config))


def test_the_config_may_say_the_kind_of_targets(make):
    config = make("csv", "classification")
    config.data.target_kind = "value"
    with pytest.raises(UserError, match="targets: value.*allowed: targets: class"):
        make_plan(config, load_data(config))
    assert data.Dataset is type(load_data(config))


def test_arms_of_other_tasks_have_their_own_targets(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n" + "".join(f"{i},{i % 3}\n" for i in range(60)))
    loaded = {}
    for task, kind in (("classification", "class"), ("regression", "value")):
        config = base()
        config.data.name, config.task.name = f"csv:{tmp_path / 'a.csv'}", task
        assert _study.data_of(config, loaded).fields.targets == kind
