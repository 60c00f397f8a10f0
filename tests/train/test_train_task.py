"""Tasks: losses and metrics against their definitions, tasks and networks of the user's own."""

import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas.errors import GaveUp, UserError
from gpnas.models import Model
from gpnas.train import Metric, make_plan, task, train

_OWN = '''
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from gpnas.models import Model
from gpnas.train import Aux, Metric, Task


class Net(nnx.Module):
    """Batch statistics and dropout."""

    def __init__(self, rngs: nnx.Rngs, num_classes: int = 10, width: int = 8):
        self.first = nnx.Linear(64, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.drop = nnx.Dropout(0.2, rngs=rngs)
        self.last = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.last(self.drop(nnx.relu(self.norm(self.first(x.reshape(len(x), -1))))))


def brier(model: Model, power: float = 2.0) -> Task:
    """Brier score; accuracy, of which more is better."""

    def per_example(variables, outputs, labels):
        probabilities = jax.nn.softmax(outputs)
        losses = jnp.sum(jnp.abs(probabilities - jax.nn.one_hot(labels, 10)) ** power, -1)
        return losses, jnp.argmax(outputs, -1) == labels

    def loss(variables, batch, key):
        outputs, state = model.apply(variables, batch[0], key)
        losses, right = per_example(variables, outputs, batch[1])
        return losses.mean(), Aux(state, {"accuracy": right.mean(dtype=jnp.float32)})

    def metrics(variables, batch):
        losses, right = per_example(variables, model.infer(variables, batch[0]), batch[1])
        return {"loss": losses, "accuracy": right}

    return Task(model.init, loss, metrics, Metric("accuracy", better="higher"), model)


def vector(model: Model) -> Task:
    made = brier(model)
    return made._replace(loss=lambda v, batch, key: (jnp.zeros(3), made.loss(v, batch, key)[1]))


def mean_metrics(model: Model) -> Task:
    made = brier(model)
    return made._replace(
        metrics=lambda v, batch: {n: x.mean() for n, x in made.metrics(v, batch).items()}
    )


def unmeasured(model: Model) -> Task:
    return brier(model)._replace(metric=Metric("f1"))


def raising(model: Model) -> Task:
    def loss(variables, batch, key):
        raise RuntimeError("no such loss")

    return brier(model)._replace(loss=loss)


def none(model: Model) -> Task:
    return None


def no_model() -> Model:
    return None


def without_aux(model: Model) -> Task:
    made = brier(model)
    return made._replace(loss=lambda v, batch, key: made.loss(v, batch, key)[0])


def other_state(model: Model) -> Task:
    made = brier(model)

    def loss(variables, batch, key):
        value, aux = made.loss(variables, batch, key)
        return value, aux._replace(model_state={"cache": value})

    return made._replace(loss=loss)


def unnamed(model: Model) -> Task:
    return brier(model)._replace(metrics=lambda v, batch: jnp.zeros(len(batch[0])))


def _reported(model, **fields):
    made = brier(model)
    return made._replace(metric=made.metric._replace(**fields))


def best(model: Model) -> Task:
    return _reported(model, better="best")


def no_value(model: Model) -> Task:
    return _reported(model, value=lambda mean: None)


def raising_value(model: Model) -> Task:
    return _reported(model, value=lambda mean: mean / 0)


def decibel(model: Model) -> Task:
    return _reported(model, value=lambda mean: -10 * jnp.log10(mean))


def count(model: Model) -> Task:
    return brier(model)._replace(outputs=lambda data: data.num_classes)


def raising_outputs(model: Model) -> Task:
    return brier(model)._replace(outputs=lambda data: data.classes)


def text(model: Model) -> Task:
    return brier(model)._replace(metric="accuracy")


def density(model: Model) -> Task:
    made = brier(model)

    def loss(variables, batch, key):
        value, aux = made.loss(variables, batch, key)
        return value, aux._replace(metrics={"density": value})

    metric = made.metric._replace(name="density")
    rename = lambda v, batch: {"loss": made.metrics(v, batch)["loss"], "density": batch[1] * 1.0}
    return made._replace(loss=loss, metrics=rename, metric=metric)


def not_finite(model: Model) -> Task:
    made = brier(model)

    def loss(variables, batch, key):
        value, aux = made.loss(variables, batch, key)
        return value, aux._replace(metrics={"accuracy": value * jnp.nan})

    return made._replace(loss=loss)
'''
_EQUINOX = """
import equinox as eqx
import jax


class Net(eqx.Module):
    first: eqx.nn.Linear
    drop: eqx.nn.Dropout
    last: eqx.nn.Linear

    def __init__(self, key, num_classes: int = 10, width: int = 8):
        one, two = jax.random.split(key)
        self.first = eqx.nn.Linear(64, width, key=one)
        self.drop = eqx.nn.Dropout(0.2)
        self.last = eqx.nn.Linear(width, num_classes, key=two)

    def __call__(self, x, key=None):
        return self.last(self.drop(jax.nn.relu(self.first(x.reshape(-1))), key=key))


def stateful(key, num_classes: int = 10) -> "Normed":
    return eqx.nn.make_with_state(Normed)(key, num_classes)


class Normed(eqx.Module):
    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    last: eqx.nn.Linear

    def __init__(self, key, num_classes):
        one, two = jax.random.split(key)
        self.first = eqx.nn.Linear(64, 8, key=one)
        self.norm = eqx.nn.BatchNorm(8, axis_name="batch", mode="batch")
        self.last = eqx.nn.Linear(8, num_classes, key=two)

    def __call__(self, x, state):
        x, state = self.norm(self.first(x.reshape(-1)), state)
        return self.last(jax.nn.relu(x)), state
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Modules `gpnas_tasks` and `gpnas_equinox` on Python's path."""
    (tmp_path / "gpnas_tasks.py").write_text(_OWN)
    (tmp_path / "gpnas_equinox.py").write_text(_EQUINOX)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("gpnas_tasks", "gpnas_equinox"):
        sys.modules.pop(name, None)


def of_outputs(outputs):
    """A model without parameters that returns given outputs."""
    return Model(lambda key, x: {"params": {}}, lambda variables, x, key: (outputs, {}))


def both(made, targets):
    """Loss, its metrics, and the metrics of the evaluation."""
    batch = jnp.zeros((len(targets), 1)), jnp.asarray(targets)
    loss, aux = made.loss({"params": {}}, batch, jax.random.key(0))
    return float(loss), aux.metrics, made.metrics({"params": {}}, batch)


OUTPUTS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 0, 1], np.int32)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.mark.parametrize("soft", [False, True])
def test_classification(soft):
    targets = np.eye(4, dtype=np.float32)[LABELS]
    loss, means, found = both(task.classification(of_outputs(OUTPUTS)), targets if soft else LABELS)
    expected = -(log_softmax(OUTPUTS) * targets).sum(-1)
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    np.testing.assert_array_equal(found["error"], OUTPUTS.argmax(-1) != LABELS)
    assert float(means["error"]) == pytest.approx(np.mean(OUTPUTS.argmax(-1) != LABELS))


@given(st.floats(0, 0.9))
def test_label_smoothing_is_of_the_training_loss_alone(alpha):
    made = task.classification(of_outputs(OUTPUTS), label_smoothing=alpha)
    loss, _, found = both(made, LABELS)
    targets = (1 - alpha) * np.eye(4)[LABELS] + alpha / 4
    assert loss == pytest.approx(-(log_softmax(OUTPUTS) * targets).sum(-1).mean(), rel=1e-5)
    plain = -(log_softmax(OUTPUTS) * np.eye(4)[LABELS]).sum(-1)
    np.testing.assert_allclose(found["loss"], plain, rtol=1e-5)


def test_regression():
    targets = OUTPUTS + np.array([[3.0, 0, 0, 4.0]], np.float32)
    loss, _, found = both(task.regression(of_outputs(OUTPUTS)), targets)
    assert loss == pytest.approx(25 / 4, rel=1e-5)
    metric = task.regression(of_outputs(OUTPUTS)).metric
    assert metric.value(float(found["rmse"].mean())) == pytest.approx(2.5, rel=1e-5)


def test_multilabel():
    targets = OUTPUTS > 0
    targets[0] = ~targets[0]
    loss, means, found = both(task.multilabel(of_outputs(OUTPUTS)), targets)
    signs = np.where(targets, 1, -1)
    assert loss == pytest.approx(np.log1p(np.exp(-signs * OUTPUTS)).mean(), rel=1e-5)
    np.testing.assert_array_equal(found["label_error"], [1, 0, 0, 0, 0, 0])
    assert float(means["label_error"]) == pytest.approx(1 / 6)


def test_language():
    logits = jnp.zeros((2, 5, 8))
    made = task.language(of_outputs(logits))
    loss, _, found = both(made, np.zeros((2, 5), np.int32))
    assert loss == pytest.approx(math.log(8), rel=1e-5) and found["loss"].shape == (2,)
    assert made.metric.value(loss) == pytest.approx(8, rel=1e-5)


def test_a_metric_of_which_more_is_better():
    more, less = Metric("accuracy", better="higher"), Metric("error", "%")
    assert more.improves(2, 1) and not more.improves(1, 1) and more.improves(-9, more.worst)
    assert less.improves(1, 2) and not less.improves(1, 1) and less.improves(9e9, less.worst)
    assert less.text(1.234) == "error 1.23 %" and more.text(0.98765) == "accuracy 0.9877"


@pytest.mark.slow
def test_networks_and_tasks_of_ones_own(own, tiny, digits, tmp_path):
    config = tiny(name="rigl", density=0.3)
    config.model = {"name": "gpnas_tasks:Net", "dtype": "float32", "conv": "auto", "width": 6}
    config.task = {"name": "gpnas_tasks:brier", "power": 1.5}
    record = train(config, tmp_path / "run", digits)
    assert record["task"]["metric"] == {"name": "accuracy", "unit": "", "better": "higher"}
    best = max(line["accuracy"] for line in record["evaluations"])
    assert record["metrics"]["val_accuracy_selected"] == pytest.approx(best, abs=1e-4)
    assert 0.1 < record["metrics"]["test_accuracy_last"] < 1
    assert [layer["path"] for layer in record["layers"]] == ["first/kernel", "last/kernel"]
    plan = make_plan(config, digits)
    variables = plan.task.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    images = jnp.ones((4, 8, 8, 1)) * jnp.arange(4.0)[:, None, None, None]
    keys = jax.random.key(0), jax.random.key(0), jax.random.key(1)
    (a, state), (b, _), (c, _) = (plan.task.model.apply(variables, images, key) for key in keys)
    np.testing.assert_array_equal(a, b)
    assert (np.asarray(a) != np.asarray(c)).any()  # dropout
    before, after = variables["state"]["norm"]["mean"], state["state"]["norm"]["mean"]
    assert (np.asarray(before) != np.asarray(after)).any()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stateful"), [("Net", False), ("stateful", True)])
def test_equinox(own, tiny, digits, tmp_path, name, stateful):
    pytest.importorskip("equinox")
    config = tiny(name="rigl", density=0.3)
    config.model = {"name": f"gpnas_equinox:{name}", "dtype": "float32", "conv": "auto"}
    record = train(config, tmp_path / "run", digits)
    assert [layer["path"] for layer in record["layers"]] == ["first/weight", "last/weight"]
    plan = make_plan(config, digits)
    assert bool(jax.tree.leaves(plan.variables["state"])) is stateful


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "gpnas_tasks:vector"}, r"a loss of one real number, not of shape \(3,\)"),
        ({"name": "gpnas_tasks:mean_metrics"}, r"metrics of shape \(batch,\), not .*\(\)"),
        ({"name": "gpnas_tasks:unmeasured"}, "whose metrics have 'f1'"),
        ({"name": "gpnas_tasks:raising"}, "RuntimeError: no such loss"),
        ({"name": "gpnas_tasks:none"}, "a function that returns a Task, not NoneType"),
        ({"name": "gpnas_tasks:without_aux"}, r"loss returns \(loss, gpnas.train.Aux\)"),
        ({"name": "gpnas_tasks:other_state"}, "loss returns the network's collections"),
        ({"name": "gpnas_tasks:unnamed"}, r"metrics are \{name: \(batch,\)\}"),
        ({"name": "gpnas_tasks:best"}, "better lower or higher, not 'best'"),
        ({"name": "gpnas_tasks:no_value"}, "value` is a finite number"),
        ({"name": "gpnas_tasks:raising_value"}, "value` is a finite number"),
        ({"name": "gpnas_tasks:count"}, r"`outputs` returns a shape, .*; not 10"),
        ({"name": "gpnas_tasks:raising_outputs"}, "`outputs` returns a shape, .*AttributeError"),
        ({"name": "gpnas_tasks:text"}, "`metric` is a gpnas.train.Metric, not 'accuracy'"),
        ({"name": "gpnas_tasks:density"}, "a name other than .*density"),
        ({"name": "gpnas_tasks:brier", "power": "two"}, "task.power: got 'two'"),
        ({"name": "gpnas_tasks:brier", "base": 2}, "a field of gpnas_tasks:brier: power"),
        ({"name": "classification", "label_smoothing": 1.0}, "task.label_smoothing: got 1.0"),
        ({"name": "detection"}, "classification, regression, multilabel, language"),
        ({"name": "os:system"}, "a Task class, or a function annotated `-> Task`"),
        ({"name": "regression"}, "allowed: targets: value"),
    ],
)
def test_tasks_that_cannot_be(own, tiny, digits, settings, said):
    config = tiny(name="dense")
    config.task = settings
    with pytest.raises(UserError, match=said) as caught:
        make_plan(config, digits)
    assert "\n" not in str(caught.value)


def test_a_metric_that_is_not_finite_ends_a_run(own, tiny, digits, tmp_path):
    config = tiny(name="dense")
    config.task = {"name": "gpnas_tasks:not_finite"}
    with pytest.raises(GaveUp, match="^the train accuracy is nan at step 7$"):
        train(config, tmp_path / "run", digits)
    assert not (tmp_path / "run" / "record.json").exists()


def test_reported_values_are_numbers_of_python(own, tiny, digits):
    config = tiny(name="dense")
    config.task = {"name": "gpnas_tasks:decibel"}
    metric = make_plan(config, digits).task.metric
    assert type(metric.reported(0.1)) is float and metric.reported(0.1) == pytest.approx(10)
    assert math.isnan(Metric("a", value=lambda mean: 1 / mean).reported(0.0))
    assert task.language(of_outputs(None)).metric.reported(1e4) == math.inf


def test_a_network_of_another_kind_than_annotated(own, tiny, digits):
    config = tiny(name="dense")
    config.model = {"name": "gpnas_tasks:no_model", "dtype": "float32", "conv": "auto"}
    with pytest.raises(UserError, match="^model.name: got .* a function that returns a Model"):
        make_plan(config, digits)


def test_a_method_that_intercepts_layers_needs_linen(own, tiny, digits):
    config = tiny(name="sparse_vd")
    config.model = {"name": "gpnas_tasks:Net", "dtype": "float32", "conv": "auto"}
    with pytest.raises(UserError, match="method.name: got 'sparse_vd'.*not Linen's"):
        make_plan(config, digits)
