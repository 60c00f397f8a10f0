"""Files compute in their runtimes what JAX computes."""

import pathlib

import jax
import numpy as np
import pytest
from flax import traverse_util
from jax import export

from gpnas import deploy, models
from gpnas.deploy import compact_network, quantize, to_onnx, to_stablehlo, to_tflite
from gpnas.errors import UserError

NAMES = ("lenet5", "resnet", "own", "fixed")


def small_of(subject, name):
    module, variables, shape, images = subject(name)
    small = compact_network(models.linen(module), variables, shape)
    return deploy.on_pixels(small.apply, 0.3, 0.4), small.variables, shape, images


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_stablehlo(subject, name, tmp_path):
    apply, variables, shape, images = small_of(subject, name)
    path = tmp_path / "net.stablehlo"
    to_stablehlo(apply, variables, shape, path)
    run = deploy.load_exported(path)
    assert deploy.max_difference(run, apply, variables, images) <= 1e-4
    assert deploy.max_difference(run, apply, variables, images[:2]) <= 1e-4
    assert run(images).std() > 1e-3  # not a constant
    assert export.deserialize(bytearray(path.read_bytes())).platforms == deploy.PLATFORMS


@pytest.mark.parametrize("name", NAMES)
def test_onnx(subject, name, tmp_path):
    formats_or_skip("onnx")
    apply, variables, shape, images = small_of(subject, name)
    path = tmp_path / "net.onnx"
    to_onnx(apply, variables, shape, path)
    run = deploy.load_exported(path, threads=2)
    assert deploy.max_difference(run, apply, variables, images) <= 1e-4
    assert deploy.max_difference(run, apply, variables, images[:1]) <= 1e-4


@pytest.mark.parametrize("opset, ir", [(None, 10), (17, 8), (20, 9)])
def test_onnx_opset(subject, opset, ir, tmp_path):
    formats_or_skip("onnx")
    import onnx

    apply, variables, shape, images = small_of(subject, "lenet5")
    path = tmp_path / "net.onnx"
    to_onnx(apply, variables, shape, path, **({"opset": opset} if opset else {}))
    model = onnx.load(path)
    # onnxruntime 1.20, the oldest allowed, reads opset 21 and IR version 10.
    assert [(one.domain, one.version) for one in model.opset_import] == [("", opset or 21)]
    assert model.ir_version == ir
    paths = traverse_util.flatten_dict(variables, sep="/")
    assert set(paths) <= {weight.name for weight in model.graph.initializer}
    weights = {weight.name: weight.dims for weight in model.graph.initializer}
    h, w, i, o = paths["params/Conv_0/kernel"].shape
    assert list(weights["params/Conv_0/kernel"]) == [o, i, h, w]
    assert {"Conv_0", "Conv_1", "Dense_0", "Dense_1"} <= {node.name for node in model.graph.node}
    assert deploy.max_difference(deploy.load_exported(path), apply, variables, images) <= 1e-4


def test_only_weights_that_are_known_get_the_names_of_variables(tmp_path):
    formats_or_skip("onnx")
    import onnx

    rng = np.random.default_rng(0)
    same, images = rng.normal(size=(4, 3)).astype(np.float32), np.zeros((2, 2, 2, 1), np.float32)
    variables = {
        "images": rng.normal(size=(4, 4)).astype(np.float32),  # the name of the input
        "a": {"kernel": same}, "b": {"kernel": same},  # of equal values
        "in": {"kernel": rng.normal(size=(3, 3)).astype(np.float32)},  # used inside a branch
        "encoder": {"out": {"kernel": rng.normal(size=(3, 5)).astype(np.float32)}},
        "key": jax.random.key(0),
    }  # fmt: skip

    def apply(v, x):
        h = x.reshape(x.shape[0], 4) @ v["images"]
        h = h @ v["a"]["kernel"] + h @ v["b"]["kernel"]
        h = jax.lax.cond(h.sum() > 0, lambda h: h @ v["in"]["kernel"], lambda h: h + 1, h)
        return h @ v["encoder"]["out"]["kernel"]

    path = tmp_path / "net.onnx"
    to_onnx(apply, variables, images.shape[1:], path)
    graph = onnx.load(path).graph
    names = {weight.name for weight in graph.initializer}
    assert {"in/kernel", "encoder/out/kernel"} <= names
    assert not {"images", "a/kernel", "b/kernel"} & names
    assert "encoder/out" in {node.name for node in graph.node}
    run = deploy.load_exported(path)
    assert deploy.max_difference(run, apply, variables, images + 1) <= 1e-4
    assert deploy.max_difference(run, apply, variables, images - 1) <= 1e-4


@pytest.mark.parametrize("opset", [16, 24, 0, -1, True, 21.0, "21"])
def test_wrong_opsets(opset, tmp_path):
    formats_or_skip("onnx")
    path = tmp_path / "net.onnx"
    with pytest.raises(UserError, match="opset: got .* a whole number from 17 to"):
        to_onnx(lambda v, x: x, {}, (2, 2, 1), path, opset)
    assert not path.exists()


def test_onnx_in_int8(subject, tmp_path):
    formats_or_skip("onnx")
    apply, variables, shape, images = small_of(subject, "lenet5")
    original, small = tmp_path / "net.onnx", tmp_path / "net.int8.onnx"
    to_onnx(apply, variables, shape, original)
    quantize(original, small, images)
    scale = np.abs(deploy.load_exported(original)(images)).max()
    assert (
        0
        < deploy.max_difference(deploy.load_exported(small), apply, variables, images)
        < 0.1 * scale
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 3, 16])  # of 5 images
def test_tflite(subject, name, batch, tmp_path):
    formats_or_skip("tflite")
    apply, variables, shape, images = small_of(subject, name)
    path = tmp_path / "net.tflite"
    to_tflite(apply, variables, shape, path, batch)
    run = deploy.load_exported(path)
    assert len(run(images)) == 5
    assert deploy.max_difference(run, apply, variables, images) <= 1e-4


def formats_or_skip(name):
    """Skips where an extra is not installed."""
    for package in deploy.EXTRAS[name][1]:
        pytest.importorskip(package)


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setitem(deploy.EXTRAS, "onnx", ("deploy", ("no_such_package",)))
    with pytest.raises(UserError, match=r"formats: got 'onnx'.*pip install 'gpnas\[deploy\]'"):
        deploy.require_formats(["stablehlo", "onnx"])
    with pytest.raises(UserError, match="formats: got 'pdf', allowed: onnx, stablehlo"):
        deploy.require_formats(["pdf"])


def test_a_file_of_another_kind():
    with pytest.raises(UserError, match="file: got 'net.pt', allowed: a file ending in .stablehlo"):
        deploy.load_exported(pathlib.Path("net.pt"))


def test_means_are_over_all_images():
    images = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    labels = np.arange(7) % 3
    wrong = deploy.mean_over_examples(
        lambda x: x[:, 0, 0, 0] // 3 % 3, lambda found, own: found != own, images, labels, batch=2
    )
    assert wrong == pytest.approx(np.mean(np.arange(7) // 3 % 3 != labels))


def test_formats_that_can_express_a_network():
    assert "safetensors" not in deploy.formats_of("my_net:Net", None)
    assert deploy.formats_of("resnet", None) == deploy.installed_formats()
    formats_or_skip("safetensors")
    assert deploy.formats_of("resnet", ["safetensors"]) == ["safetensors"]
    with pytest.raises(UserError, match="formats: got 'safetensors', allowed: a network of gpnas"):
        deploy.formats_of("my_net:Net", ["safetensors"])
