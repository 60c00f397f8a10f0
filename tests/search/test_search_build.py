"""Searches that train, from their settings: what is built, and every mistake in one line."""

import json

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.searches import lemonade
from experiments.studies.lemonade import config as beside
from gpnas.errors import UserError
from gpnas.search import Space, choices, search_together, storage
from gpnas.search.build import build_search
from gpnas.search.comparison import compare
from gpnas.search.record import settings_key, summarize
from gpnas.search.spaces import SPACES, cost_of
from gpnas.train import Metric, Task, percent, supervised


def settings(**changed):
    config = lemonade.get_config()
    config.data.name, config.data.image_size = "digits", 0
    config.network = {"op": "dense", "widths": (4, 6)}
    config.training.update(steps=4, child_steps=2, distil_steps=1, batch_size=16)
    config.strategy = {"name": "lemonade", "first": 2}
    config.steps = 14
    found = config.to_dict()
    for path, value in changed.items():
        section, _, field = path.partition("__")
        if field:
            found[section] = {**found[section], field: value}
        else:
            found[section] = value
    return found


class Net(nn.Module):
    """A network of one's own: a choice of width, and one of what comes behind."""

    width: int
    last: str

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Dense(self.width)(images.reshape(images.shape[0], -1))
        return nn.Dense(10)({"relu": nn.relu, "tanh": nn.tanh}[self.last](x))


def mine(image, classes, widest=8) -> Space:
    """A space of one's own: a function of the images, and its own fields."""

    def build(architecture):
        return Net(int(architecture[0]), architecture[1])

    options = [[str(n) for n in range(2, widest + 1, 2)], ["relu", "tanh"]]
    return choices(options, lambda one: cost_of(build(one), image), build)


def raises(image, classes) -> Space:
    raise KeyError("no such thing")


def no_space(image, classes) -> Space:
    return 3


def no_networks(image, classes) -> Space:
    return choices([["a", "b"]])


def with_lists(image, classes) -> Space:
    return mine(image, classes)._replace(build=lambda one: nn.Sequential([nn.Dense(classes)]))


def too_wide(image, classes) -> Space:
    def build(one):
        return nn.Sequential((lambda x: x.reshape(x.shape[0], -1), nn.Dense(classes + 1)))

    return mine(image, classes)._replace(build=build)


def no_price(image, classes) -> Space:
    return mine(image, classes)._replace(cost=lambda one: {"params": 1 / 0})


def no_data(image, classes) -> Space:
    return mine(image, classes)._replace(sample=lambda rng: {"a": 1}, cost=lambda one: {})


def odd_names(image, classes, layers=0, head=-1, momentum=2) -> Space:
    return mine(image, classes)


def cannot(space):
    return space.nothing


def proposes_nothing(space):
    return None


def fails(space):
    return lambda history, rng: 1 / 0


def proposes_tuples(space):
    return lambda history, rng: (space.sample(rng), None)


def accuracy(model) -> Task:
    """Classification, judged by a metric of which higher values are better."""

    def loss(logits, labels):
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)

    def right(logits, labels):
        return jnp.argmax(logits, -1) == labels

    metric = Metric("accuracy", "%", "higher", percent)
    return supervised(model, loss, {"accuracy": right}, metric)


def broken(model) -> Task:
    return accuracy(model)._replace(metrics=lambda variables, batch: {"loss": batch[1]})


OWN = "tests.search.test_search_build:"
JUDGED = {
    "space": OWN + "mine", "network": {"widest": 4}, "task": {"name": OWN + "accuracy"},
    "strategy": {"name": "evolution", "population": 2, "sample": 2}, "evaluations": 4, "steps": 0,
    "objectives": ("val_accuracy",), "reports": ("test_accuracy",),
}  # fmt: skip


@pytest.mark.slow
def test_it_stops_when_the_steps_are_spent(tmp_path):
    plan = build_search(settings(), tmp_path)
    history = search_together(plan.propose, plan.evaluate, plan.evaluations, plan.enough)
    steps = [trial.metrics["steps"] for trial in history]
    assert sum(steps[:-1]) < 14 <= sum(steps)
    assert {"val_error", "params", "macs", "log_params", "steps"} == set(history[0].metrics)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"trial_{i}.msgpack" for i in range(len(history))
    ]


@pytest.mark.slow
def test_a_space_of_the_users_own(tmp_path):
    own = {
        "space": "tests.search.test_search_build:mine", "network": {"widest": 4},
        "strategy": {"name": "random"}, "evaluations": 4, "steps": 0, "together": 4,
        "objectives": ("val_error",), "reports": ("test_error", "params"),
    }  # fmt: skip
    plan = build_search(settings(**own), tmp_path)
    history = search_together(
        plan.propose, plan.evaluate, plan.evaluations, plan.enough, plan.together
    )
    assert {trial.architecture for trial in history} == {
        ("2", "relu"), ("2", "tanh"), ("4", "relu"), ("4", "tanh"),
    }  # fmt: skip
    assert all(0 <= trial.metrics["test_error"] <= 100 for trial in history)


@pytest.mark.slow
def test_a_metric_of_which_higher_values_are_better(tmp_path):
    given = settings(**JUDGED)
    plan = build_search(given, tmp_path / "weights")
    assert plan.maximised == ("val_accuracy", "test_accuracy")
    history = search_together(plan.propose, plan.evaluate, plan.evaluations)
    other = build_search(
        settings(**JUDGED | {"task": {"name": "classification"}, "objectives": ("val_error",),
                             "reports": ("test_error",)}), tmp_path / "others",
    )  # fmt: skip
    same = search_together(other.propose, other.evaluate, other.evaluations)
    assert [t.architecture for t in history] == [t.architecture for t in same]
    for one, plain in zip(history, same, strict=True):
        for split in ("val", "test"):
            error = plain.metrics[f"{split}_error"]
            assert one.metrics[f"{split}_accuracy"] == pytest.approx(100 - error, abs=1e-3)
    record = summarize(history, plan)
    shown = [entry["metrics"]["val_accuracy"] for entry in record["course"]]
    assert shown == sorted(shown) and record["maximised"] == ["val_accuracy", "test_accuracy"]
    assert record["front"][0]["metrics"]["val_accuracy"] == shown[-1]
    assert shown[-1] == max(trial.metrics["val_accuracy"] for trial in history)
    assert "maximised" not in summarize(same, other)
    kept = storage.open_study(
        f"sqlite:///{tmp_path}/s.db", "s", plan.objectives, given, maximised=plan.maximised
    )
    assert [direction.name for direction in kept.directions] == ["MAXIMIZE"]


@pytest.mark.slow
def test_asha_trains_on_from_budget_to_budget(tmp_path):
    own = {
        "space": "tests.search.test_search_build:mine", "network": {}, "steps": 0,
        "strategy": {"name": "asha", "budgets": (2, 4), "reduction": 2}, "evaluations": 6,
        "objectives": ("val_error",),
    }  # fmt: skip
    plan = build_search(settings(**own), tmp_path)
    history = search_together(plan.propose, plan.evaluate, plan.evaluations)
    assert {trial.budget for trial in history} == {2, 4}
    assert all(trial.metrics["steps"] == 2 for trial in history if trial.repeats is None)


@pytest.mark.slow
def test_an_arm_may_differ_in_any_section(tmp_path):
    config = beside.get_config()
    everything = settings()
    for section in ("data", "network", "training"):
        config[section] = everything[section]
    config.steps, config.seeds, config.only = 8, 1, "random,without inheritance"
    config.arms["without inheritance"].strategy.first = 1
    path = compare(config, str(tmp_path))
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["config"]["training"]["inherit"] for record in records] == [True, False]
    for record in records:
        assert record["steps"] >= 8 and record["course"][-1]["steps"] <= record["steps"]
        steps = [entry["steps"] for entry in record["course"]]
        assert steps == sorted(steps) and steps[0] == 4
    assert compare(config, str(tmp_path)).read_text().count("\n") == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cell_201", "macro", "darts"])
def test_spaces_of_cells_can_be_trained(name):
    fields = {
        "cell_201": {"channels": 4, "cells": 1},
        "macro": {"channels": 4, "head": 8},
        "darts": {"channels": 4, "layers": 3, "nodes": 2},
    }[name]
    space = SPACES[name]((8, 8, 1), 10, **fields)
    architecture = space.sample(np.random.default_rng(0))
    cost = space.cost(architecture)
    assert cost == cost_of(space.build(architecture), (8, 8, 1)) and cost["params"] > 0


def test_cells_of_darts_are_what_is_chosen():
    space = SPACES["darts"]((8, 8, 1), 10)
    normal = ("skip", "max_pool3", "0 2", "sep_conv3", "avg_pool3")
    reduction = ("dil_conv5", "skip", "1 2", "skip", "skip")
    space.check((*normal, *reduction))
    assert space.build((*normal, *reduction)).architecture == (
        ((("skip", 0), ("max_pool3", 1)), (("sep_conv3", 0), ("avg_pool3", 2))),
        ((("dil_conv5", 0), ("skip", 1)), (("skip", 1), ("skip", 2))),
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"space": "cnn"}, "space: got 'cnn', allowed: nas_bench_201, nas_bench_macro, morphable"),
        ({"network__depth": 3}, "network.depth: got 3, allowed: a field of morphable: op, widths"),
        ({"network__pools": 0}, "network.pools: got 0, allowed: 1 or more"),
        ({"network__op": "pool"}, "op: got 'pool', allowed: conv, dense, separable"),
        ({"training__steps": 0}, "training.steps: got 0, allowed: 1 or more"),
        ({"training__child_steps": -1}, "training.child_steps: got -1, allowed: 0 or more"),
        ({"training__momentum": 1.0}, "training.momentum: got 1.0, allowed: a number in [0, 1)"),
        ({"training__learning_rate": 0.0}, "training.learning_rate: got 0.0, allowed: above 0"),
        ({"training__epochs": 1}, "training.epochs: got 1, allowed: a field of a search: steps"),
        ({"training__batch_size": 5000}, "training.batch_size: got 5000, allowed: 1 to 1294"),
        ({"objectives": ("test_error",)}, "objectives: got 'test_error', allowed: val_error"),
        ({"objectives": ("accuracy",)}, "objectives: got 'accuracy', allowed: val_error, params"),
        ({"reports": ("bleu",)}, "reports: got 'bleu', allowed: params"),
        ({"steps": -1}, "steps: got -1, allowed: a whole number, 0 or more"),
        ({"together": 0}, "together: got 0, allowed: a whole number, 1 or more"),
        ({"data__name": "nothing"}, "data.name: got 'nothing'"),
        ({"data__augment": "flip_lr"}, "data.augment: got 'flip_lr', allowed: ''"),
    ],
)
def test_a_mistake_is_one_line(changed, message, tmp_path):
    with pytest.raises(UserError) as raised:
        build_search(settings(**changed), tmp_path)
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "own", "message"),
    [
        ("space", "raises", r"a space that can be made \(KeyError: 'no such thing', line 62"),
        ("space", "no_space", "a Space whose `build` makes networks, not 3"),
        ("space", "no_networks", "a Space whose `build` makes networks"),
        ("space", "with_lists", "hashable networks: tuples, not lists, as fields of Sequential"),
        ("space", "too_wide", r"networks with outputs \(10,\), not \(11,\)"),
        ("space", "no_price", r"a space that samples and prices \(ZeroDivisionError"),
        ("space", "no_data", "a space that samples and prices .*tuples of texts and numbers"),
        ("strategy.name", "cannot", r"a strategy that can be made \(AttributeError"),
        ("strategy.name", "proposes_nothing", "a function that returns .* not None"),
    ],
)
def test_what_a_users_code_raises_while_a_search_is_planned_is_one_line(
    field, own, message, tmp_path
):
    one = {"space": OWN + "mine", "network": {}, "objectives": ("val_error",)}
    one["strategy"] = {"name": OWN + own if field == "strategy.name" else "random"}
    one |= {"space": OWN + own} if field == "space" else {}
    with pytest.raises(UserError, match=f"{field}: got '{OWN}{own}', allowed: {message}") as raised:
        build_search(settings(**one), tmp_path)
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("own", ["fails", "proposes_tuples"])
def test_a_users_strategy_that_fails_is_one_line(own, tmp_path):
    one = {"space": OWN + "mine", "network": {}, "objectives": ("val_error",)}
    search = build_search(settings(**one, strategy={"name": OWN + own}), tmp_path)
    with pytest.raises(UserError, match="strategy.name: got .*returns a Proposal") as raised:
        search.propose((), np.random.default_rng(0))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"objectives": ("val_error",)}, "objectives: got 'val_error', allowed: val_accuracy, par"),
        ({"reports": ("test_error",)}, "reports: got 'test_error', allowed: params"),
        ({"objectives": ("val_accuracy", "params"), "strategy": {"name": "nsga2"}},
         "objectives: got ('val_accuracy', 'params'), allowed: val_accuracy alone"),
        ({"task": {"name": "language"}}, "data.name: got 'digits (inputs: image; targets: cla"),
        ({"task": {"name": "regression"}}, "data.name: got 'digits (inputs: image; targets: cla"),
        ({"task": {"name": "classify"}}, "task.name: got 'classify', allowed: classification,"),
        ({"task": {"name": "classification", "smooth": 1}}, "task.smooth: got 1, allowed: a field"),
        ({"task": {"name": OWN + "broken"}}, f"task.name: got '{OWN}broken', allowed: a task"),
        ({"task": {}}, "task.name: got None, allowed: a value"),
        ({"space": "morphable", "network": {"op": "dense"}},
         "training.distil_steps: got 1, allowed: 0, for a task other than classification"),
    ],
)  # fmt: skip
def test_what_a_task_of_ones_own_does_not_support(changed, message, tmp_path):
    with pytest.raises(UserError) as raised:
        build_search(settings(**JUDGED | changed), tmp_path)
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("task", "target"), [("classification", "class"), ("regression", "value")])
def test_tables_are_no_data_of_a_search(task, target, tmp_path):
    """The data are named, whatever else their shape would break."""
    rows = "\n".join(f"{i},{i % 7},{i % 2}" for i in range(40))
    (tmp_path / "a.csv").write_text(f"a,b,c\n{rows}\n")
    one = settings(task={"name": task}, data__name=f"csv:{tmp_path}/a.csv")
    message = rf"^data.name: got .*targets: {target}\)', allowed: inputs: image; targets: {target}"
    with pytest.raises(UserError, match=message):
        build_search(one, tmp_path)


@pytest.mark.slow
def test_settings_from_before_there_were_tasks_are_the_same_search(tmp_path):
    now = settings(seed=0)
    before = {field: value for field, value in now.items() if field != "task"}
    assert settings_key(now) == settings_key(before)
    url = f"sqlite:///{tmp_path}/s.db"
    storage.open_study(url, "s", ("val_error",), before)
    storage.open_study(url, "s", ("val_error",), now)
    with pytest.raises(UserError, match="task.name: got 'regression'"):
        storage.open_study(url, "s", ("val_error",), now | {"task": {"name": "regression"}})
    build_search(before, tmp_path)


def test_ranges_belong_to_signatures_not_to_names(tmp_path):
    own = {"space": OWN + "odd_names", "network": {"layers": 0, "head": -2, "momentum": 5}}
    one = settings(**own, strategy={"name": "random"}, objectives=("val_error",))
    assert build_search(one, tmp_path).objectives == ("val_error",)


def test_weights_need_a_folder():
    with pytest.raises(UserError, match="workdir: got None, allowed: the folder of the search"):
        build_search(settings())
