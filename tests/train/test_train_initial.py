"""Runs that start from given weights: of a run, of files, of the user's own code."""

import pathlib
import re
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import traverse_util

from gpnas.errors import UserError
from gpnas.train import _step, base, load_run, make_plan, train
from gpnas.train._initial import load_variables

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits):
    """A finished run: `(folder, its variables)`."""
    config = base(name="dense")
    config.data.name = "digits"
    config.model.widths = (32, 16)
    config.train.epochs, config.train.batch_size = 3, 64
    config.train.tensorboard = False
    folder = tmp_path_factory.mktemp("trained")
    train(config, folder, digits)
    return folder, load_run(folder).variables


def load(tiny, digits, source, names=None, **fields):
    config = tiny(name="gmp", density=0.1)
    config.train.init_from, config.train.init_names = str(source), names or {}
    for name, value in fields.items():
        config.model[name] = value
    return load_variables(config.train, make_plan(config, digits).variables)


def flat(variables):
    return traverse_util.flatten_dict(variables["params"], sep="/")


@pytest.mark.slow
def test_every_source_gives_the_same(trained, tiny, digits, tmp_path, monkeypatch):
    safetensors = pytest.importorskip("safetensors.numpy")
    folder, variables = trained
    leaves = {name: np.asarray(x) for name, x in flat(variables).items()}
    safetensors.save_file(leaves, tmp_path / "slashes.safetensors")
    half = {name: np.asarray(leaf, jnp.bfloat16) for name, leaf in leaves.items()}
    safetensors.save_file(half, tmp_path / "half.safetensors")
    dotted = {f"params.{name}".replace("/", "."): x for name, x in leaves.items()}
    safetensors.save_file(dotted, tmp_path / "dots.safetensors")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "orbax", variables)
    np.savez(tmp_path / "leaves.npz", **leaves)
    (tmp_path / "gpnas_weights.py").write_text(
        "import numpy\n\n\ndef weights() -> dict:\n"
        f"    return dict(numpy.load({str(tmp_path / 'leaves.npz')!r}))\n\n\n"
        "class Own(dict):\n    pass\n\n\ndef own() -> Own:\n    return Own(weights())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    names = ("slashes.safetensors", "dots.safetensors", "orbax")
    functions = ("gpnas_weights:weights", "gpnas_weights:own")
    for source in (folder, *(tmp_path / name for name in names), *functions):
        found = flat(load(tiny, digits, source))
        assert found.keys() == leaves.keys()
        for name, value in leaves.items():
            np.testing.assert_array_equal(found[name], value, err_msg=str(source))
    for name, value in flat(load(tiny, digits, tmp_path / "half.safetensors")).items():
        np.testing.assert_array_equal(value, half[name].astype(np.float32))
    sys.modules.pop("gpnas_weights", None)


@pytest.mark.slow
def test_a_run_starts_from_them(trained, tiny, digits, tmp_path):
    folder, _ = trained
    losses = {}
    for source in ("", str(folder)):
        config = tiny(name="gmp", density=0.5, every=7)
        config.train.init_from, config.optimizer.learning_rate = source, 1e-3
        record = train(config, tmp_path / f"run{bool(source)}", digits)
        losses[source] = record["evaluations"][0]["loss"]
    assert losses[str(folder)] < 0.5 * losses[""]


@pytest.mark.exhaustive
def test_a_run_that_goes_on_does_not_need_them(trained, tiny, digits, tmp_path, stop_at):
    source = tmp_path / "source"
    folder, variables = trained
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(source, variables)
    config = tiny(name="gmp", density=0.5, every=7)
    config.train.init_from = str(source)
    with stop_at(20):
        train(config, tmp_path / "run", digits)
    source.rename(tmp_path / "moved")
    config.resume = True
    assert train(config, tmp_path / "run", digits)["curve"][-1]["step"] == 80


@pytest.mark.slow
def test_names_and_parts_that_stay_fresh(trained, tiny, digits, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    _, variables = trained
    leaves = {f"encoder/{n}".replace("Dense_0", "first"): x for n, x in flat(variables).items()}
    safetensors.save_file({n: np.asarray(x) for n, x in leaves.items()}, tmp_path / "a.safetensors")
    names = {"Dense_0": "encoder/first", "Dense_1": "encoder/Dense_1", "Dense_2": ""}
    found = load(tiny, digits, tmp_path / "a.safetensors", names)["params"]
    np.testing.assert_array_equal(
        found["Dense_0"]["kernel"], variables["params"]["Dense_0"]["kernel"]
    )
    assert found["Dense_2"] == {"bias": None, "kernel": None}
    config = tiny(name="gmp", density=0.5, every=7)
    config.train.init_from, config.train.init_names = str(tmp_path / "a.safetensors"), names
    train(config, tmp_path / "run", digits)


def test_batch_statistics_are_loaded_or_fresh(tiny, digits, tmp_path):
    config = tiny(name="dense")
    config.model = {"name": "resnet", "dtype": "float32", "conv": "auto", "blocks": 1}
    config.model.streams, config.model.inner = (4, 4, 4), (4, 4, 4)
    plan = make_plan(config, digits)
    variables = jax.jit(plan.task.init)(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
    variables = jax.tree.map(lambda x: np.asarray(x) + 1, variables)
    for tree in (variables, {"params": variables["params"]}):
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / str(len(tree)), tree)
        config.train.init_from = str(tmp_path / str(len(tree)))
        found = load_variables(config.train, plan.variables)
        statistics = jax.tree.leaves(found["batch_stats"], is_leaf=lambda x: x is None)
        assert all((x is None) == (len(tree) == 1) for x in statistics)
        jax.tree.map(np.testing.assert_array_equal, found["params"], variables["params"])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere", "a run's folder, a .safetensors file, a folder of Orbax, or module:function"),
        ("os:system", "a function annotated `-> dict`"),
        ("gpnas_no_such_module:f", "No module named"),
        ("{folder}/record.json", "a run's folder"),
        ("{folder}/empty", "Orbax"),
        ("{folder}/damaged.safetensors", "a safetensors file"),
    ],
)
def test_sources_that_cannot_be(source, said, trained, tiny, digits):
    pytest.importorskip("safetensors")
    folder, _ = trained
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "damaged.safetensors").write_bytes(b"abc")
    with pytest.raises(UserError, match=said) as caught:
        load(tiny, digits, source.format(folder=folder))
    assert str(caught.value).startswith("train.init_from: got ") and "\n" not in str(caught.value)


@pytest.mark.slow
def test_weights_that_do_not_fit(trained, tiny, digits):
    folder, _ = trained
    with pytest.raises(UserError, match=r"Dense_0/bias of shape \(8,\).* not \(32,\)"):
        load(tiny, digits, folder, widths=(8, 16))
    with pytest.raises(UserError, match="weights with first/bias; similar: .*Dense_"):
        load(tiny, digits, folder, {"Dense_0": "first"})
    for names in ({"Dense_9": "first"}, {"Dense_": ""}, {"Dense_0/": ""}):
        with pytest.raises(UserError, match="init_names: got .*Dense_0, Dense_1, Dense_2"):
            load(tiny, digits, folder, names)
    config = tiny(name="dense")
    config.train.init_names = {"Dense_0": "first"}
    with pytest.raises(UserError, match="none without train.init_from"):
        load_variables(config.train, make_plan(config, digits).variables)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x * np.nan, "Dense_0/bias of finite numbers"),
        (lambda x: x.astype(np.int8), "Dense_0/bias of float32; not int8"),
        (lambda x: x[None], r"Dense_0/bias of shape \(32,\); not \(1, 32\)"),
    ],
)
def test_leaves_that_do_not_fit(change, said, trained, tiny, digits, tmp_path):
    """In a file, and as variables that are given to `train`."""
    safetensors = pytest.importorskip("safetensors.numpy")
    _, variables = trained
    leaves = {n: np.asarray(x) for n, x in flat(variables).items()}
    leaves["Dense_0/bias"] = change(leaves["Dense_0/bias"])
    safetensors.save_file(leaves, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=f"^train.init_from: .*{said}"):
        load(tiny, digits, tmp_path / "a.safetensors", widths=(32, 16))
    given = {"params": traverse_util.unflatten_dict(leaves, sep="/")}
    with pytest.raises(UserError, match=f"^variables: got .*{said}"):
        train(tiny(name="dense"), tmp_path / "run", digits, variables=given)
    assert not (tmp_path / "run").exists()


def test_variables_of_another_network(trained, tiny, digits, tmp_path):
    _, variables = trained
    more = {"params": {**variables["params"], "Dense_9": {"bias": np.zeros(3)}}}
    for given, said in (
        (variables["params"], "lacks params/Dense_0/bias"),
        (more, "has params/Dense_9/bias"),
        ([1, 2], "lacks params/Dense_0/bias"),
    ):
        with pytest.raises(UserError, match=f"^variables: got .*{said}"):
            train(tiny(name="dense"), tmp_path / "run", digits, variables=given)
    with pytest.raises(UserError, match="^data: got 'str', allowed: a gpnas Dataset"):
        train(tiny(name="dense"), tmp_path / "run", "digits")
    with pytest.raises(UserError, match="^task: got 'dict', allowed: a gpnas Task"):
        train(tiny(name="dense"), tmp_path / "run", digits, task={})
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float16, jax.numpy.bfloat16, np.float64])
def test_given_variables_get_the_type_of_the_network(dtype, trained, tiny, digits, tmp_path):
    """A finished run is read back, so its arrays have the types that a fresh one has."""
    folder, variables = trained
    given = jax.tree.map(lambda x: np.asarray(x).astype(dtype), variables)
    config = tiny(name="dense")
    config.train.epochs = 1
    train(config, tmp_path / "run", digits, variables=given)
    types = {x.dtype for x in jax.tree.leaves(load_run(tmp_path / "run", data=digits).variables)}
    assert types == {np.dtype(np.float32)}


def test_a_state_of_pytorch_is_loaded_as_written(tmp_path, monkeypatch):
    """Against the same network with channels first, as PyTorch computes it."""
    save_file = pytest.importorskip("safetensors.numpy").save_file
    shapes = {
        "stem.conv.weight": (4, 1, 3, 3), "stem.conv.bias": (4,), "stem.bn.weight": (4,),
        "stem.bn.bias": (4,), "stem.bn.running_mean": (4,), "stem.bn.running_var": (4,),
        "stem.bn.num_batches_tracked": (), "head.weight": (10, 64), "head.bias": (10,),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    state = {name: rng.uniform(0.1, 1, shape).astype("float32") for name, shape in shapes.items()}
    save_file(state, tmp_path / "timm.safetensors")
    page = (ROOT / "docs" / "own.md").read_text()
    recipe = re.search(r"```python\n(# my_timm\.py\n.*?)```", page, re.DOTALL)[1]
    (tmp_path / "my_timm.py").write_text(recipe)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(4, (3, 3), 2, padding=1)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
            return nn.Dense(10)(x.reshape(len(x), -1))

    images = jnp.asarray(rng.normal(size=(5, 8, 8, 1)), "float32")
    config = base(name="dense")
    config.train.init_from = "my_timm:weights"
    norm = {"BatchNorm_0": "stem/bn", "batch_stats/BatchNorm_0": "batch_stats/stem/bn"}
    config.train.init_names = {"Conv_0": "stem/conv", "Dense_0": "head"} | norm
    like = jax.eval_shape(Net().init, jax.random.key(0), images)
    variables = load_variables(config.train, like)
    conv, mean, var, scale, bias = (
        state[f"stem.{name}"].reshape(1, 4, 1, 1)
        for name in ("conv.bias", "bn.running_mean", "bn.running_var", "bn.weight", "bn.bias")
    )
    x = jax.lax.conv(images.transpose(0, 3, 1, 2), state["stem.conv.weight"], (2, 2), [(1, 1)] * 2)
    x = jax.nn.relu((x + conv - mean) / np.sqrt(var + 1e-5) * scale + bias)
    logits = x.reshape(5, -1) @ state["head.weight"].T + state["head.bias"]
    np.testing.assert_allclose(Net().apply(variables, images), logits, rtol=1e-4)


def test_modules_of_equinox_may_have_other_static_fields():
    """Widths are part of the structure of a tree, and arrays that a module lacks are None."""
    eqx = pytest.importorskip("equinox")

    def arrays(width, seed):
        module = eqx.nn.Linear(3, width, use_bias=False, key=jax.random.key(seed))
        return {"params": {"module": eqx.filter(module, eqx.is_array)}}

    fresh, given = arrays(2, 0), arrays(5, 1)
    found = _step._with_loaded(fresh, given)
    assert jax.tree.structure(found) == jax.tree.structure(fresh) != jax.tree.structure(given)
    np.testing.assert_array_equal(*(one["params"]["module"].weight for one in (found, given)))
