"""data.load on the digits: the face of the package, and its arguments."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpnas import data
from gpnas.errors import UserError


def test_shapes_types_and_ranges(home):
    ds = data.load("digits")
    assert (len(ds.train), len(ds.validation), len(ds.test)) == (1294, 144, 359)
    assert ds.input_shape == (8, 8, 1)
    assert ds.num_classes == 10
    assert ds.class_names == tuple("0123456789")
    for split in (ds.train, ds.validation, ds.test):
        assert split.inputs.dtype == np.uint8
        assert split.targets.dtype == np.int32
        assert split.inputs.max() == 255
        assert set(split.targets) == set(range(10))
        with pytest.raises(ValueError, match="read-only"):
            split.inputs[0] = 0
    pixels = ds.train.inputs / 255
    np.testing.assert_allclose(ds.mean, [pixels.mean()], rtol=1e-6)
    np.testing.assert_allclose(ds.std, [pixels.std()], rtol=1e-6)
    assert ds.mean.dtype == ds.std.dtype == np.float32
    assert list(home.iterdir()) == [home / "bin"]


def test_is_the_same_again_and_everywhere():
    first, second = data.load("digits"), data.load("digits")
    np.testing.assert_array_equal(first.train.inputs, second.train.inputs)
    expected = "f9b5429cc002fe00de4e98d1f101fae0393472a0524145d39c3aae525eb6caa2"
    assert first.sha256 == second.sha256 == expected
    held = hashlib.sha256(first.validation.inputs.tobytes()).hexdigest()
    assert held == "99af283587410e63a7d40cab17d37cd36c5ee1153a80e9d7cbbb2aa09be0a7d9"


def test_seed_and_validation_leave_the_test_set_alone():
    one, other = data.load("digits"), data.load("digits", seed=1, validation=0.5)
    np.testing.assert_array_equal(one.test.inputs, other.test.inputs)
    assert one.sha256 == other.sha256
    assert len(other.validation) == 719
    assert len(data.load("digits", validation=0.25, seed=np.int64(7)).validation) == 360


def test_no_image_is_in_two_splits():
    ds = data.load("digits")
    rows = [s.inputs.reshape(len(s), -1) for s in (ds.train, ds.validation, ds.test)]
    assert len(np.unique(np.concatenate(rows), axis=0)) == 1797


@pytest.mark.parametrize(("size", "shape"), [(16, (16, 16, 1)), ((4, 12), (4, 12, 1))])
def test_image_size(size, shape):
    ds = data.load("digits", image_size=size)
    assert ds.input_shape == shape
    assert ds.sha256 != data.load("digits").sha256


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("data.validation", {"validation": 0}),
        ("data.validation", {"validation": 1.0}),
        ("data.validation", {"validation": -0.1}),
        ("data.validation", {"validation": float("nan")}),
        ("data.validation", {"validation": True}),
        ("data.validation", {"validation": "0.1"}),
        ("data.validation", {"validation": 1e-9}),
        ("data.seed", {"seed": -1}),
        ("data.seed", {"seed": 2**32}),
        ("data.seed", {"seed": 0.5}),
        ("data.image_size", {"image_size": 0}),
        ("data.image_size", {"image_size": (8, 8, 1)}),
        ("data.image_size", {"image_size": True}),
        ("data.image_size", {"image_size": 1.5}),
        ("data.image_size", {"image_size": "8x8"}),
        ("data.raw_dir", {"raw_dir": "here"}),
    ],
)
def test_wrong_arguments(field, arguments):
    with pytest.raises(UserError, match="^" + field):
        data.load("digits", **arguments)


def test_import_is_light():
    code = "import sys, gpnas.data; print([m for m in ('jax', 'tensorflow_datasets', 'tensorflow', "
    code += "'sklearn', 'PIL', 'array_record') if m in sys.modules])"
    root = Path(data.__file__).parents[2]
    output = subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True)
    assert output.strip() == "[]"
