"""gpnas.data: the kinds of inputs and targets, their digests, splits and statistics."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas.data import Dataset, Fields, Split, require_kind, standardize
from gpnas.data._dataset import Decoded, content_digest
from gpnas.data._fields import check_fields_complete, misfit
from gpnas.data._split import column_statistics, hold_out_end, split_parts, statistics
from gpnas.errors import UserError

FEATURES = Fields("features", "class", 3)
TOKENS = Fields("tokens", "next", 5, tokens=5)


def rows(n, seed=0, fields=FEATURES):
    rng = np.random.default_rng(seed)
    if fields.inputs == "tokens":
        tokens = rng.integers(0, 5, (n, 5), dtype=np.int32)
        return Split(tokens[:, :-1], tokens[:, 1:])
    targets = {
        "class": rng.integers(0, 3, n).astype(np.int32),
        "value": rng.normal(size=(n, fields.outputs)).astype(np.float32),
        "labels": rng.integers(0, 2, (n, fields.outputs)) > 0,
    }[fields.targets]
    features = rng.normal(size=(n, 4)).astype(np.float32)
    features[:, 0] = np.arange(n)
    return Split(features, targets)


EVERY = (FEATURES, TOKENS, Fields("features", "value", 2), Fields("features", "labels", 2))


@given(
    fields=st.sampled_from(EVERY),
    n=st.integers(30, 80),
    seed=st.integers(0, 2**32 - 1),
    fraction=st.floats(0.05, 0.6),
    own=st.sets(st.sampled_from(["test", "validation"])),
)
def test_the_split_is_a_partition(fields, n, seed, fraction, own):
    whole = rows(n, fields=fields)
    splits = {"train": whole} | {name: rows(3, 1, fields) for name in own}
    parts = split_parts(Decoded(fields, splits, ""), "set", fraction, seed, Path())
    assert set(parts) == {"train", "test", "validation"}
    assert all(parts[name] is splits[name] for name in own)
    held = [parts[name] for name in parts if name not in own]
    between = 2 - len(own) if fields.targets == "next" else 0  # sequences in neither part
    assert sum(map(len, held)) == n - between
    numbered = {row.tobytes(): at for at, row in enumerate(whole.inputs)}
    if fields.inputs == "features":
        places = sorted(numbered[row.tobytes()] for part in held for row in part.inputs)
        assert places == list(range(n))
        pairs = {
            (i.tobytes(), t.tobytes()) for i, t in zip(whole.inputs, whole.targets, strict=True)
        }
        assert pairs == {
            (i.tobytes(), t.tobytes())
            for part in held
            for i, t in zip(part.inputs, part.targets, strict=True)
        }


@given(n=st.integers(3, 300), fraction=st.floats(0.01, 0.99))
def test_the_end_of_a_text_is_held_out(n, fraction):
    wanted = round(n * fraction)
    if not 0 < wanted < n - 1:
        with pytest.raises(UserError, match=r"data\.validation"):
            hold_out_end(n, fraction)
        return
    kept, held = hold_out_end(n, fraction)
    assert (kept.start, held.stop, held.start - kept.stop) == (0, n, 1)
    assert held.stop - held.start == wanted


def test_no_copy_of_what_is_not_held_out():
    whole = rows(40, fields=TOKENS)
    parts = split_parts(Decoded(TOKENS, {"train": whole}, ""), "text", 0.2, 0, Path())
    assert all(np.shares_memory(part.inputs, whole.inputs) for part in parts.values())
    assert (len(parts["train"]), len(parts["validation"]), len(parts["test"])) == (24, 6, 8)


@given(
    fields=st.sampled_from(EVERY),
    part=st.sampled_from(["train", "test"]),
    array=st.sampled_from(["inputs", "targets"]),
    at=st.integers(0, 9),
)
def test_the_digest_changes_with_the_content(fields, part, array, at):
    splits = {"train": rows(10, 0, fields), "test": rows(10, 1, fields)}
    digest = content_digest(fields, splits)
    same = {name: Split(x.inputs.copy(order="F"), x.targets.copy()) for name, x in splits.items()}
    assert content_digest(fields, same) == digest
    changed = getattr(splits[part], array).copy()
    changed[at] = ~changed[at] if changed.dtype == bool else changed[at] + 1
    other = splits | {part: dataclasses.replace(splits[part], **{array: changed})}
    assert content_digest(fields, other) != digest
    assert (
        content_digest(fields, {"train": splits["train"], "validation": splits["test"]}) != digest
    )
    assert content_digest(fields._replace(names=("a",) * fields.outputs), splits) != digest


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_statistics_of_columns_equal_numpy(offset):
    features = (np.random.default_rng(0).normal(size=(9000, 3)) + offset).astype(np.float32)
    features[:, 1] = 0.1  # constant: its mean is rounded
    mean, std = column_statistics(features)
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, features.mean(0, np.float64), rtol=1e-6)
    np.testing.assert_allclose(std[[0, 2]], features.std(0, np.float64)[[0, 2]], rtol=1e-6)
    assert std[1] == 0
    assert statistics(FEATURES, features)[1][1] == 1


def dataset(fields, inputs):
    split = Split(inputs, np.zeros(len(inputs), np.int32))
    return Dataset("set", split, split, split, fields, "", *statistics(fields, inputs))


@pytest.mark.parametrize("library", [np, jnp])
def test_standardize_by_kind(library):
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, (50, 4)).astype(np.float32)
    found = standardize(library.asarray(features), dataset(FEATURES, features))
    np.testing.assert_allclose(np.mean(found, 0), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(found, 0), 1, atol=1e-5)
    images = rng.integers(0, 256, (20, 3, 3, 2), dtype=np.uint8)
    images[..., 1] = 7  # a channel without variation is no division by zero
    found = standardize(library.asarray(images), dataset(Fields("image", "class", 2), images))
    np.testing.assert_allclose(np.mean(found, (0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(found, (0, 1, 2)), (1, 0), atol=1e-5)
    tokens = library.asarray(rng.integers(0, 5, (6, 4), dtype=np.int32))
    assert standardize(tokens, dataset(TOKENS, np.asarray(tokens))) is tokens


def test_a_kind_that_is_not_wanted():
    data = dataset(FEATURES, rows(5).inputs)
    require_kind(data, inputs=("image", "features"), targets=("class",))
    with pytest.raises(UserError, match=r"data\.name.*set \(inputs: features.*inputs: image;"):
        require_kind(data, inputs=("image",), targets=("class",))
    with pytest.raises(UserError, match="allowed: targets: value"):
        require_kind(data, targets=("value",))


@pytest.mark.parametrize(
    "changes, allowed",
    [
        ({"inputs": "table"}, "inputs: image, features, tokens"),
        ({"inputs": ["image"]}, "inputs: image, features, tokens"),
        ({"targets": "classes"}, "targets: class, value, labels, next"),
        ({"outputs": 1}, "2 outputs or more"),
        ({"outputs": 2.0}, "whole numbers"),
        ({"outputs": True}, "whole numbers"),
        ({"tokens": 4}, "tokens of 1 or more for inputs of kind tokens, 0 for others"),
        ({"names": ("a", "b")}, "as many names as outputs"),
        ({"names": "abc"}, "tuples of texts"),
        ({"columns": 3}, "tuples of texts"),
        ({"units": ("m", "m", "m")}, "units for targets of kind value only"),
        ({"inputs": "image", "columns": ("a",)}, "columns for inputs of kind features only"),
        ({"targets": "next"}, "inputs of kind tokens where targets are next"),
        ({"inputs": "tokens", "targets": "next", "tokens": 4}, "as many outputs"),
    ],
)
def test_fields_that_do_not_agree(changes, allowed):
    check_fields_complete(FEATURES, "data.name", "m:f")
    check_fields_complete(TOKENS, "data.name", "m:f")
    with pytest.raises(UserError, match=rf"data\.name: got 'm:f'.*{allowed}"):
        check_fields_complete(FEATURES._replace(**changes), "data.name", "m:f")


def test_arrays_that_do_not_fit():
    split = rows(6)
    assert misfit(FEATURES, split.inputs, split.targets) == ""
    assert "float64" in misfit(FEATURES, split.inputs.astype(float), split.targets)
    assert "not 5" in misfit(FEATURES, split.inputs, split.targets[:5])
    assert "3 columns" in misfit(FEATURES._replace(columns=("a", "b", "c")), *split_of(split))
    assert "not empty" in misfit(FEATURES, split.inputs[:0], split.targets[:0])
    tokens = rows(6, fields=TOKENS)
    assert "shape of the inputs" in misfit(TOKENS, tokens.inputs, tokens.targets[:, 1:])


def split_of(split):
    return split.inputs, split.targets
