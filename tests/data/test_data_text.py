"""data.load on text:PATH: sequences of characters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas import data
from gpnas.data import _text
from gpnas.errors import UserError

LINE = "the quick brown fox jumps over the lazy dog\n"


def string(ds, tokens):
    return "".join(ds.fields.names[token] for token in tokens.ravel())


@pytest.fixture
def folder(tmp_path):
    here = tmp_path / "texts"
    here.mkdir()
    return here


def load(path, length=8, **arguments):
    return data.load(f"text:{path}", length=length, **arguments)


def test_a_text(folder):
    whole = LINE * 20
    (folder / "a.txt").write_text(whole)
    ds = load(folder / "a.txt")
    assert ds.fields == data.Fields("tokens", "next", 28, tuple(sorted(set(LINE))), tokens=28)
    assert ds.input_shape == (8,) and ds.train.inputs.dtype == np.int32
    assert (len(ds.train), len(ds.validation), len(ds.test)) == (76, 9, 22)
    starts = [0, 77 * 8, 87 * 8]
    for split, start in zip((ds.train, ds.validation, ds.test), starts, strict=True):
        assert string(ds, split.inputs) == whole[start : start + split.inputs.size]
        assert string(ds, split.targets) == whole[start + 1 : start + 1 + split.inputs.size]
    assert np.shares_memory(ds.train.inputs, ds.train.targets)


@given(
    whole=st.text(st.characters(codec="utf-8", exclude_characters="\r\ufeff"), max_size=200),
    length=st.integers(1, 7),
)
def test_targets_are_the_next_characters(tmp_path_factory, whole, length):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text(whole, encoding="utf-8", newline="")
    if len(whole) <= length or len(set(whole)) < 2:
        with pytest.raises(UserError, match=r"data\.name"):
            _text.load_text(path, length)
        return
    decoded = _text.load_text(path, length)
    split, names = decoded.splits["train"], decoded.fields.names
    assert len(split) == (len(whole) - 1) // length
    count = split.inputs.size
    assert "".join(names[token] for token in split.inputs.ravel()) == whole[:count]
    assert "".join(names[token] for token in split.targets.ravel()) == whole[1 : count + 1]


def test_chunks_make_no_difference(folder, monkeypatch):
    (folder / "a.txt").write_text("äöü€😀\r\n" * 30)
    one = _text.load_text(folder / "a.txt", 4)
    monkeypatch.setattr(_text, "CHUNK", 7)
    assert _text.load_text(folder / "a.txt", 4).sha256 == one.sha256
    assert "\r" not in one.fields.names and "😀" in one.fields.names


def test_files_of_a_folder_are_one_text(folder):
    for name, word in (("10", "zehn"), ("2", "zwei")):
        (folder / f"{name}.txt").write_text(word * 20)
    (folder / ".hidden.txt").write_text("?")
    (folder / "README.md").write_text("!")
    ds = load(folder, length=4)
    assert string(ds, ds.train.inputs[:1]) == "zwei" and string(ds, ds.test.inputs[-1:]) != "zwei"
    assert ds.class_names == tuple(sorted(set("zweihn")))


def test_a_folder_with_splits_of_its_own(folder, caplog):
    (folder / "train.txt").write_text(LINE * 4)
    (folder / "test.txt").write_text("dog€" * 9)
    assert len(load(folder).test) == 4
    (folder / "val.txt").write_text("fox" * 9)
    ds = load(folder)
    assert string(ds, ds.test.inputs[:1]) == "dog€dog€" and len(ds.train) == 21
    assert string(ds, ds.validation.inputs[:1]) == "foxfoxfo"
    (folder / "more.txt").write_text(LINE)
    with pytest.raises(UserError, match=r"more\.txt.*no others"):
        load(folder)


def test_the_seed_has_no_say(folder, caplog):
    (folder / "a.txt").write_text(LINE * 20)
    one, other = load(folder), load(folder, seed=1)
    np.testing.assert_array_equal(one.validation.inputs, other.validation.inputs)
    assert "data.seed=1 is not used" in caplog.text


@pytest.mark.parametrize(
    "content, arguments, message",
    [
        (b"", {}, r"a\.txt.*more than 8 characters \(data\.length\), not 0"),
        (b"a" * 99, {}, "two different characters"),
        (b"abcdefgh", {}, "more than 8 characters"),
        (b"ab" * 9, {}, r"data\.(name|validation)"),
        (b"ab\n" * 9 + b"\xff", {}, r"a\.txt:10'.*UTF-8"),
        (b"ab" * 99, {"length": 0}, r"data\.length: got 0"),
        (b"ab" * 99, {"length": 2.5}, r"data\.length: got 2\.5"),
        (b"ab" * 99, {"image_size": 3}, r"data\.image_size"),
        (b"ab" * 99, {"validation": 0.999}, r"data\.validation"),
    ],
)
def test_wrong_texts(folder, content, arguments, message):
    (folder / "a.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load(folder, **arguments)


def test_no_such_text(folder):
    for name in ("text:", f"text:{folder}", f"text:{folder}/none.txt"):
        with pytest.raises(UserError, match=r"data\.name"):
            data.load(name)
