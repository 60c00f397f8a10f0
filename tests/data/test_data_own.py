"""data.load on module:function: arrays and sources of one's own."""

import types

import numpy as np
import pytest

from gpnas import data
from gpnas.data import Fields, Source, _storage
from gpnas.errors import UserError

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 4)).astype(np.float32), RNG.integers(0, 3, 60).astype(np.int32)
F = Fields("features", "class", 3, ("a", "b", "c"), columns=("p", "q", "r", "s"))
TOKENS = RNG.integers(0, 9, (40, 7))


@pytest.fixture
def load(monkeypatch):
    """Loads what a function of a module `mine` returns."""

    def of(result, **arguments):
        module = types.ModuleType("mine")
        module.make = result if callable(result) else lambda: result
        monkeypatch.setitem(__import__("sys").modules, "mine", module)
        return data.load("mine:make", **arguments)

    return of


class Rows:
    """A source that is read by index, as those of Grain."""

    def __init__(self, inputs, targets):
        self.inputs, self.targets = inputs, targets

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, row):
        return self.inputs[row], self.targets[row]


def test_arrays_and_sources_are_the_same_data(load):
    arrays, source = load(Source(F, (X, Y))), load(Source(F, Rows(X, Y)))
    assert arrays.fields == F and arrays.class_names == F.names
    assert (len(arrays.train), len(arrays.validation), len(arrays.test)) == (43, 5, 12)
    assert arrays.sha256 == source.sha256
    np.testing.assert_array_equal(arrays.train.inputs, source.train.inputs)
    pairs = load(Source(F, list(zip(X, Y, strict=True))))
    assert pairs.sha256 == arrays.sha256
    assert load(Source(F, (X.astype(float), Y.astype(np.uint8)))).sha256 == arrays.sha256
    assert load(Source(F, (X, (Y + 1) % 3))).sha256 != arrays.sha256


def mapped(array):
    """Whether an array, or what it is a view of, is mapped from a file."""
    return isinstance(array, np.memmap) or (array is not None and mapped(array.base))


def test_large_copies_are_files_without_a_name(load, tmp_path, monkeypatch):
    small = load(Source(F, Rows(X, Y)))
    monkeypatch.setattr(_storage, "IN_MEMORY", 500)  # bytes; the training inputs are 688
    large = load(Source(F, Rows(X, Y)), cache_dir=tmp_path / "cache")
    assert mapped(large.train.inputs) and not mapped(large.train.targets)
    assert not list((tmp_path / "cache").iterdir()) and large.sha256 == small.sha256
    for part in ("train", "validation", "test"):
        for array in ("inputs", "targets"):
            found, expected = (getattr(getattr(ds, part), array) for ds in (large, small))
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(large.std, small.std)


def test_a_large_copy_that_finds_no_room_is_one_line(load, tmp_path, monkeypatch, no_room):
    monkeypatch.setattr(_storage, "IN_MEMORY", 500)
    with no_room(100), pytest.raises(OSError, match="too large") as caught:
        load(Source(F, (X, Y)), cache_dir=tmp_path)
    assert caught.value.filename == str(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="^data.cache_dir: .*a folder that can be written"):
        load(Source(F, (X, Y)), cache_dir=tmp_path / "file" / "cache")


def test_the_users_arrays_stay_as_they_are(load):
    x, y = X.copy(), Y.copy()
    ds = load(Source(F, (x[:40], y[:40]), (x[40:50], y[40:50]), (x[50:], y[50:])))
    assert all(
        np.shares_memory(part, own)
        for split in (ds.train, ds.validation, ds.test)
        for part, own in ((split.inputs, x), (split.targets, y))
    )
    assert not ds.train.inputs.flags.writeable
    x[:] = 1  # still the user's own


KINDS = {
    "image": (Fields("image", "class", 3), RNG.integers(0, 256, (60, 5, 4, 2), np.uint8), Y),
    "value": (Fields("features", "value", 1, ("cost",), ("EUR",)), X, X.sum(1)),
    "values": (Fields("features", "value", 2), X, X[:, :2]),
    "labels": (Fields("features", "labels", 2), X, X[:, :2] > 0),
    "next": (Fields("tokens", "next", 9, tokens=9), TOKENS[:, :-1], TOKENS[:, 1:]),
    "sentences": (Fields("tokens", "class", 3, tokens=9), TOKENS, Y[:40]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(load, kind):
    fields, inputs, targets = KINDS[kind]
    ds = load(Source(fields, (inputs, targets)))
    assert ds.fields == fields and ds.num_classes == fields.outputs
    assert ds.input_shape == inputs.shape[1:]
    shapes = {"value": (1,), "values": (2,), "labels": (2,), "next": (6,)}
    assert ds.train.targets.shape[1:] == shapes.get(kind, ())
    types_of = {"value": np.float32, "values": np.float32, "labels": np.bool_}
    assert ds.train.targets.dtype == types_of.get(kind, np.int32)
    assert all(np.isfinite(data.standardize(ds.train.inputs, ds)).ravel())


BAD = np.where(np.arange(240).reshape(60, 4) == 101, np.inf, X)


@pytest.mark.parametrize(
    "result, message",
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda argument: argument, "missing 1 required positional argument"),
        ((X, Y), r"a gpnas\.data\.Source, not tuple"),
        (Source({"inputs": "image"}, (X, Y)), r"type gpnas\.data\.Fields"),
        (Source(F._replace(outputs=1), (X, Y)), "2 outputs or more"),
        (Source(F, (X, Y + 1)), "mine:make: train.*targets from 0 to 2, not 3"),
        (Source(F, (X, Y - 1)), "targets from 0 to 2, not -1"),
        (Source(F, (X, Y[1:])), r"as many targets as inputs \(60\), not 59"),
        (Source(F, (X, Y / 2)), "targets of whole numbers.*not float64"),
        (Source(F, (X[:, 1:], Y)), "4 columns, one per name, not 3"),
        (Source(F, (BAD, Y)), "finite in float32; example 25"),
        (Source(F, (X.astype(object), Y)), "inputs of numbers.*not object"),
        (Source(F, (X, Y), (X[:, :3], Y)), "mine:make: test.*4 columns"),
        (Source(F._replace(columns=()), (X, Y), (X[:, :3], Y)), "shape of train's"),
        (Source(F, X), "pairs .input, target., not ndarray in example 0"),
        (Source(F, None), "NoneType"),
        (Source(F, []), "one example or more"),
        (Source(F, (X[:0], Y[:0])), "not empty"),
        (Source(F, [(X[0], 0), (X[1][:2], 0)]), r"not \(2,\), float32 in example 1"),
        (Source(F, (X[:3], Y[:3])), r"data\.(name|validation)"),
        (Source(KINDS["image"][0], (RNG.random((9, 4, 4, 3)), Y[:9])), "inputs of uint8"),
        (Source(KINDS["next"][0], (TOKENS, TOKENS[:, 1:])), "shape of the inputs"),
        (Source(KINDS["next"][0], (TOKENS + 2**32, TOKENS)), "inputs of int32 values"),
        (Source(KINDS["labels"][0], (X, Y[:, None])), "targets of bool"),
    ],
)
def test_what_a_function_may_not_return(load, result, message):
    with pytest.raises(UserError, match=message) as error:
        load(result)
    assert error.value.field in ("data.name", "data.validation")
    assert "\n" not in str(error.value)


def test_no_such_function(load):
    for name in ("foldr:/x", "gpnas.nothing:f", "os:nothing", "os:sep"):
        with pytest.raises(UserError, match=r"data\.name"):
            data.load(name)
    with pytest.raises(UserError, match=r"data\.image_size"):
        load(Source(F, (X, Y)), image_size=4)
