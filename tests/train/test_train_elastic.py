"""Elastic training: smaller arrays on the way, and nothing else is different."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas import models, units
from gpnas.errors import UserError
from gpnas.masks import apply
from gpnas.train import (
    _elastic,
    _plan,
    _rebuild,
    classification,
    make_program,
    train,
)

METHOD = {
    "name": "development_units", "density": 0.25, "every": 5, "window": 3,
    "peak_at": 0.35, "peak": 2.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tiny):
    """`name → config` of a run of 80 steps."""

    def make(model="lenet300", **settings):
        config = tiny(**METHOD | settings)
        config.elastic, config.elastic_round_to = True, 4
        if model == "resnet":
            config.model.name = "resnet"
            del config.model["widths"]
            config.model.width, config.model.blocks = 4, 1
            config.train.epochs, config.method.every = 2, 10
        return config

    return make


@pytest.fixture(scope="module")
def seen(recipe, digits, tmp_path_factory):
    """`(record, [(step, widths)], uploads of the validation split)` of an elastic run."""
    met, sent, run, put = [], [], make_program, jax.device_put

    def watch(plan, *args, **more):
        program = run(plan, *args, **more)

        def go(state, index, steps, *step):
            met.append((int(state.step), plan.variables["params"]["Dense_0"]["kernel"].shape[1]))
            return program.run(state, index, steps, *step)

        return program._replace(run=go)

    def upload(tree, *args):
        sent.append((1, 256, *digits.input_shape) in map(np.shape, jax.tree.leaves(tree)))
        return put(tree, *args)

    folder = tmp_path_factory.mktemp("elastic") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_elastic, "make_program", watch)
        patch.setattr(jax, "device_put", upload)
        record = train(recipe(), folder, digits)
    return record, met, sent.count(True)


@pytest.mark.slow
def test_arrays_follow_the_living(seen, recipe, digits):
    record, met, uploads = seen
    widths = [width for _, width in met]
    assert widths[0] < 32 and max(widths) > widths[0] and widths[-1] == 8
    assert record["compilations"] == len(set(widths)) <= 8
    assert uploads == 1  # programs share it
    sizes = {group.name: group.size for group in _plan.make_plan(recipe(), digits).groups.groups}
    assert sizes == {"params/Dense_0/kernel:1": 32, "params/Dense_1/kernel:1": 16}


@pytest.mark.slow
def test_the_record_is_of_the_supernet(seen, recipe, digits, tmp_path):
    record, _, _ = seen
    config = recipe()
    config.elastic = False
    plain = train(config, tmp_path / "run", digits)
    for field in ("weights", "nonzeros", "inference_macs", "inference_macs_dense"):
        assert record["cost"][field] == plain["cost"][field]
    assert [p["density"] for p in record["curve"]] == [p["density"] for p in plain["curve"]]
    assert record["architecture"] == plain["architecture"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", ["lenet300", "resnet"])
@pytest.mark.usefixtures("two_stages")
def test_the_architecture_is_the_network_without_its_masks(model, recipe, digits, tmp_path, saved):
    config = recipe(model, **({"block_density": 0.5} if model == "resnet" else {}))
    record = train(config, tmp_path / "run", digits)
    made = _plan.make_plan(config, digits)
    state = make_program(made, digits).init([jax.random.key(0)])[0]
    leaves = saved[tmp_path / "run"]
    flat, structure = jax.tree_util.tree_flatten_with_path(state)
    assert all(np.shape(leaf) == leaves[f"[0][0]{jax.tree_util.keystr(path)}"].shape
               for path, leaf in flat if leaf.dtype == jnp.float32)  # fmt: skip
    state = jax.tree.unflatten(
        structure, [leaves[f"[0][0]{jax.tree_util.keystr(path)}"] for path, _ in flat]
    )
    masked = {"params": apply(state.masks, state.params), **state.model_state}
    rebuild = _rebuild.find_rebuild(config, digits, made)
    network, small = _elastic.active_network(made, rebuild, masked, state.mask_state.units)
    assert network == record["architecture"]
    images = jnp.asarray(digits.test.inputs[:50], jnp.float32)
    rebuilt = models.from_architecture(network)
    np.testing.assert_allclose(
        rebuilt.apply(small, images),
        made.task.model.infer(masked, images),
        rtol=1e-4,
        atol=1e-4,
    )
    if model == "resnet":
        assert network["fields"]["inner"].count(0) == 1
    small_plan = made._replace(task=classification(models.linen(rebuilt)))
    error = make_program(small_plan, digits).evaluate(small, digits.test)["error"]
    assert 100 * error == pytest.approx(record["metrics"]["test_error_last"], abs=1e-3)


@pytest.mark.slow
def test_a_budget_of_cost_is_met_alike_with_and_without(tiny, digits, tmp_path):
    curve = ((0.0, 0.3), (0.2, 0.6), (0.6, 0.25))
    records = {}
    for elastic in (False, True):
        config = tiny(name="development_cost", curve=curve, every=5, window=3, spare=0.5)
        config.elastic, config.elastic_round_to, config.elastic_min_flops = elastic, 2, 0.0
        records[elastic] = train(config, tmp_path / str(elastic), digits)
    for record in records.values():
        macs = record["cost"]["inference_macs"] / record["cost"]["inference_macs_dense"]
        assert 0.22 < macs <= 0.25  # a unit costs 2 %
        units = [point["units"] for point in record["curve"]]
        assert len({tuple(one.values()) for one in units}) > 2
        widths = record["architecture"]["fields"]["widths"]
        assert widths == list(units[-1].values())
    assert records[True]["compilations"] > 1


@pytest.mark.slow
def test_a_dormant_unit_changes_nothing_and_its_gain_is_seen(recipe, digits):
    made = _plan.make_plan(recipe(), digits)
    state = make_program(made, digits).init([jax.random.key(3)])[0]
    images = jnp.asarray(digits.train.inputs[:64], jnp.float32) / 255

    def loss(params):
        logits = made.task.model.infer({"params": params}, images)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(64), digits.train.targets[:64]])

    living = apply(state.masks, state.params)
    assert loss(living) == pytest.approx(float(loss(state.params)), abs=1e-6)
    groups = units.groups_in_params(made.groups)
    slopes = units.score.sum_per_unit(groups, jax.tree.map(jnp.abs, jax.grad(loss)(state.params)),
                                "outgoing")  # fmt: skip
    for name, alive in state.mask_state.units.items():
        assert 0 < alive.sum() < len(alive)
        assert np.count_nonzero(np.asarray(slopes[name])[~np.asarray(alive)]) > 0.4 * len(alive)


def test_a_factored_state_of_a_square_layer_cannot_be_elastic(recipe, digits, tmp_path):
    config = recipe()
    config.model.widths, config.optimizer.name = (32, 32), "adafactor"
    config.optimizer.arguments = {"min_dim_size_to_factor": 16}
    with pytest.raises(
        UserError, match=r"optimizer.name: got 'adafactor', allowed: .*v_row/Dense_1"
    ):
        train(config, tmp_path / "run", digits)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method.name": "rigl"}, "elastic: got True, allowed: a method that develops units"),
        (
            {"train.parallel": "pmap"},
            "train.parallel: got 'pmap', allowed: jit, where elastic=True",
        ),
        ({"elastic_round_to": 0}, "elastic_round_to: got 0, allowed: 1 or more"),
        ({"elastic_min_flops": -1.0}, "elastic_min_flops: got -1.0, allowed: 0 or more"),
    ],
)
def test_what_cannot_be_elastic(change, said, recipe, tiny, digits, tmp_path):
    config = recipe()
    if change.get("method.name"):
        config = tiny(name="rigl", density=0.2)
        config.elastic = True
    else:
        config.update_from_flattened_dict(change)
    with pytest.raises(UserError) as error:
        train(config, tmp_path / "run", digits)
    assert said in str(error.value)
    assert not (tmp_path / "run").exists()
