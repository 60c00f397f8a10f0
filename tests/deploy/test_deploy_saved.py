"""A network comes back from JSON and safetensors, without any training code."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpnas import deploy, models
from gpnas.deploy import compact_network
from gpnas.errors import UserError

ROOT = Path(__file__).parents[2]
pytest.importorskip("safetensors")

LOADING = """
import pathlib, sys
import numpy as np
from gpnas import deploy, models
apply, variables = deploy.load_network(pathlib.Path(sys.argv[1]))
np.save(sys.argv[3], apply(variables, np.load(sys.argv[2])))
loaded = {name.split(".")[1] for name in sys.modules if name.startswith("gpnas.")}
assert not loaded & {"train", "methods", "gates", "data", "search", "sensitivity"}, loaded
"""


@pytest.fixture
def saved(subject, tmp_path):
    """A small LeNet-5 in a folder: `(path, apply, variables, images)`."""
    module, variables, shape, images = subject("lenet5")
    small = compact_network(models.linen(module), variables, shape)
    path = tmp_path / "net.json"
    deploy.save_network(path, small.architecture, small.variables, [0.3], [0.4])
    return path, deploy.on_pixels(small.apply, 0.3, 0.4), small.variables, images


@pytest.mark.slow
def test_it_comes_back(saved):
    path, apply, variables, images = saved
    assert deploy.max_difference(deploy.load_exported(path), apply, variables, images) <= 1e-6
    fields = json.loads(path.read_text())["fields"]
    assert fields["widths"] == [3, 4, 7]


@pytest.mark.slow
def test_in_a_process_that_imports_no_training_code(saved, tmp_path):
    path, apply, variables, images = saved
    np.save(tmp_path / "images.npy", images)
    arguments = [str(path), str(tmp_path / "images.npy"), str(tmp_path / "logits.npy")]
    subprocess.run([sys.executable, "-c", LOADING, *arguments], check=True, cwd=ROOT, timeout=120)
    found = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(found, apply(variables, images), rtol=1e-5, atol=1e-5)


def test_changed_weights_are_noticed(saved):
    path, *_ = saved
    weights = path.with_suffix(".safetensors")
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match="weights as they were written; these have changed"):
        deploy.load_network(path)


def test_flipped_bits_are_noticed(saved):
    """Any bit of either file: one line, or (in white space and the like) the same network."""
    path, apply, variables, images = saved
    known = path.read_bytes()
    noticed = 0
    rng = np.random.default_rng(0)
    for place in rng.permutation(len(known))[:60]:
        content = bytearray(known)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            found, leaves = deploy.load_network(path)
        except UserError as error:
            noticed += 1
            assert "\n" not in str(error)
            continue
        np.testing.assert_allclose(found(leaves, images), apply(variables, images), rtol=1e-5)
    assert noticed > 50


def test_foreign_weights(saved):
    """Content that agrees with its digest and is no such file."""
    path, *_ = saved
    content = b"\x10" * 64
    path.with_suffix(".safetensors").write_bytes(content)
    known = json.loads(path.read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
    del known["digest"]
    path.write_text(json.dumps(known))
    with pytest.raises(UserError, match="file: got .*its weights beside it .SafetensorError"):
        deploy.load_network(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weights": "net.safetensors"}', "[" * 99999])
def test_a_file_that_is_none(saved, text):
    path, *_ = saved
    path.write_text(text)
    with pytest.raises(UserError, match="file: got"):
        deploy.load_network(path)


def test_a_name_cannot_leave_the_folder(saved):
    path, *_ = saved
    known = json.loads(path.read_text())
    del known["digest"]
    path.write_text(json.dumps(known | {"weights": "../../etc/net.safetensors"}))
    deploy.load_network(path)  # the file beside it
    path.with_suffix(".safetensors").rename(path.with_name("other.safetensors"))
    with pytest.raises(UserError, match="its weights beside it"):
        deploy.load_network(path)


@pytest.mark.parametrize("name", ["net.safetensors", "level-0.5", "net"])
def test_other_names_would_overwrite_weights(saved, subject, tmp_path, name):
    _, _, variables, _ = saved
    with pytest.raises(UserError, match=r"path: got .*allowed: a name that ends in \.json"):
        deploy.save_network(tmp_path / name, {"fields": {}}, variables)
    assert {path.name for path in tmp_path.iterdir()} == {"net.json", "net.safetensors"}
