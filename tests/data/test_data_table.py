"""data.load on csv:PATH: what is read, split and cached, and what is said of wrong tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas import data
from gpnas.data import _table
from gpnas.errors import UserError

ROWS = [(i, i % 7 + 0.5, i % 3) for i in range(40)]


def text(rows=ROWS, header="a,b,y"):
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


@pytest.fixture
def write(tmp_path):
    def file(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return file


def load(path, **arguments):
    return data.load(f"csv:{path}", **arguments)


def together(ds):
    return np.concatenate([x.inputs for x in (ds.train, ds.validation, ds.test)])


def test_a_table_of_classes(write, home):
    path = write(text())
    ds = load(path)
    assert ds.fields == data.Fields("features", "class", 3, ("0", "1", "2"), columns=("a", "b"))
    assert ds.input_shape == (2,) and ds.num_classes == 3
    assert (len(ds.train), len(ds.validation), len(ds.test)) == (29, 3, 8)
    found = together(ds)
    np.testing.assert_array_equal(found[found[:, 0].argsort()], np.array(ROWS, np.float32)[:, :2])
    for split in (ds.train, ds.validation, ds.test):
        assert (split.inputs.dtype, split.targets.dtype) == (np.float32, np.int32)
        np.testing.assert_array_equal(split.targets, split.inputs[:, 0] % 3)
    np.testing.assert_allclose(ds.mean, ds.train.inputs.mean(0), rtol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        ds.train.inputs[0] = 0


def test_the_split_is_that_of_the_seed(write):
    path = write(text())
    first, again, other = load(path), load(path), load(path, seed=1)
    np.testing.assert_array_equal(first.train.inputs, again.train.inputs)
    assert first.validation.inputs.tolist() != other.validation.inputs.tolist()
    np.testing.assert_array_equal(first.test.inputs, other.test.inputs)
    assert first.sha256 == again.sha256 == other.sha256


def test_the_digest_is_of_the_content(write, home):
    plain = load(write(text()))
    same = text([(f'"{a}.0"', f" {b}", c) for a, b, c in ROWS], "a, b ,y").replace("\n", "\r\n")
    assert load(write("\ufeff" + same + "\r\n\r\n")).sha256 == plain.sha256
    assert len(list((home / ".cache/gpnas/decoded/entries").iterdir())) == 1
    others = [
        text([*ROWS[:-1], (39, 4.5, 1)]),
        text([*ROWS[:-1], (39, 4.6, 0)]),
        text(header="a,c,y"),
        text(ROWS[:-1]),
    ]
    found = {load(write(other)).sha256 for other in others}
    assert len(found | {plain.sha256}) == 5
    assert load(write(text()), target="a", target_kind="value").sha256 not in found


def test_names_of_classes_are_texts_or_ordered_numbers(write):
    names = ["cow", "ape", "bee"]
    assert load(write(text([(a, b, names[c]) for a, b, c in ROWS]))).class_names == (
        "ape", "bee", "cow",
    )  # fmt: skip
    spelled = {0: " 10", 1: "9.0", 2: "09"}
    ds = load(write(text([(a, b, spelled[c]) for a, b, c in ROWS])))
    assert ds.class_names == ("9", "10")
    np.testing.assert_array_equal(ds.train.targets, ds.train.inputs[:, 0] % 3 == 0)
    long = {0: "12345678901234568", 1: "12345678901234567", 2: "-0.0"}  # equal as floats: the first
    ds = load(write(text([(a, b, long[c]) for a, b, c in ROWS])))
    assert ds.class_names == ("0", long[1], long[0])


def test_values_and_labels(write):
    rows = [(i % 2, i / 3, i % 3 == 0) for i in range(40)]
    path = write(text([(a, b, int(c)) for a, b, c in rows]))
    values = load(path, target="b", target_kind="value")
    assert values.fields == data.Fields("features", "value", 1, ("b",), columns=("a", "y"))
    assert (values.train.targets.dtype, values.train.targets.shape) == (np.float32, (29, 1))
    labels = load(path, target="y, a", target_kind="labels")
    assert labels.fields == data.Fields("features", "labels", 2, ("y", "a"), columns=("b",))
    thirds = np.rint(labels.train.inputs[:, 0] * 3)
    np.testing.assert_array_equal(
        labels.train.targets, np.stack([thirds % 3 == 0, thirds % 2 == 1], 1)
    )


def test_a_folder_has_its_own_splits(write, tmp_path, caplog):
    write(text(), "train.csv")
    assert len(load(tmp_path).test) == 8
    write(text([(c, b, a) for a, b, c in ROWS[:6]], "y,b,a"), "test.csv")
    write(text(ROWS[6:9]), "val.csv")
    ds = load(tmp_path, validation=0.5)
    assert "not used" in caplog.text
    assert (len(ds.train), len(ds.validation), len(ds.test)) == (40, 3, 6)
    np.testing.assert_array_equal(ds.test.inputs, np.array(ROWS[:6], np.float32)[:, :2])
    write(text([(1, 2, 7)]), "test.csv")
    with pytest.raises(UserError, match=r"test\.csv:2, column 'y': 7.*a class of train: 0, 1, 2"):
        load(tmp_path)
    write(text([(1, 2, 1)], "a,c,y"), "test.csv")
    with pytest.raises(UserError, match=r"test\.csv:1.*the columns of train: a, b, y"):
        load(tmp_path)
    write(text(), "valid.csv")
    with pytest.raises(UserError, match=r"valid\.csv.*one of val, valid, validation"):
        load(tmp_path)


def test_every_class_keeps_a_row_to_train_on(write):
    rows = [(i, 0, 0) for i in range(60)] + [(60, 1, 1), (61, 2, 2)]
    path = write(text(rows))
    for seed in range(10):
        assert set(load(path, seed=seed, validation=0.5).train.targets) == {0, 1, 2}


def after(row):
    return text() + row + "\n"


@pytest.mark.parametrize(
    "content, message",
    [
        ("", r"t\.csv:1'.*a header line with names of two columns"),
        ("a,b,y\n", r"t\.csv'.*a table with rows"),
        ("a;b;y\n1;2;3\n", r"t\.csv:1'.*commas between them"),
        (text(header="1,2,3"), r"t\.csv:1'.*names, not numbers"),
        (text(header=",b,y"), r"t\.csv:1'.*a name for column 1"),
        (text(header="a,a,y"), r"t\.csv:1, column 'a'.*different names"),
        (after("1,2"), r"t\.csv:42'.*3 cells, as the header has, not 2"),
        (after("\n1,2,0,4"), r"t\.csv:43'.*3 cells, as the header has, not 4"),
        (after("1,,0"), r"t\.csv:42, column 'b': .*missing values"),
        (after("1,NA,0"), r"t\.csv:42, column 'b': NA.*a number"),
        (after("1,1_0,0"), r"t\.csv:42, column 'b': 1_0.*a number"),
        (after("1,nan,0"), r"t\.csv:42, column 'b'.*finite in float32"),
        (after("1,1e39,0"), r"t\.csv:42, column 'b'.*finite in float32"),
        (after("1,2, "), r"t\.csv:42, column 'y'.*name of a class"),
        (after("1,2,nan"), r"t\.csv:42, column 'y'.*name of a class"),
        (after('1,"2,0'), r"t\.csv:42'.*comma-separated values"),
        (text().encode() + b"1,\xff,0\n", r"t\.csv:42'.*UTF-8"),
        (text([(a, b, 1) for a, b, _ in ROWS]), "two classes or more, not 1 alone"),
        (
            text([(a, c, b) for a, b, c in ROWS]),
            r"not 0\.5 \(for values: task\.name=regression, or data\.target_kind",
        ),
        (text([(c, b, a) for a, b, c in ROWS]), r"with more rows: 40 in 40 .*target_kind=value"),
        (text(ROWS[:2] * 2), r"data\.validation"),
        ("a,y\n1,0\n1,0\n2,1\n2,1\n", r"data\.validation"),
    ],
)
def test_wrong_tables(write, home, content, message):
    with pytest.raises(UserError, match=message) as error:
        load(write(content))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"target": "z"}, r"data\.target: got 'z'.*a, b, y"),
        ({"target": "a,b"}, r"data\.target: got 'a,b', allowed: one column of classes"),
        ({"target": "a,", "target_kind": "value"}, r"data\.target.*different names"),
        ({"target": "a,b,y", "target_kind": "value"}, "a column that is no target"),
        ({"target_kind": "regression"}, r"data\.target_kind.*class, value, labels"),
        ({"target_kind": "labels"}, r"t\.csv:4, column 'y': 2.*0 or 1"),
        ({"image_size": 8}, r"data\.image_size"),
        ({"raw_dir": "."}, r"data\.raw_dir"),
        ({"validation": 0.999}, r"data\.validation"),
    ],
)
def test_wrong_arguments(write, arguments, message):
    path = write(text())
    with pytest.raises(UserError, match=message):
        load(path, **arguments)


def test_no_such_table(tmp_path):
    for name in ("csv:", f"csv:{tmp_path}/none.csv", f"csv:{tmp_path}"):
        with pytest.raises(UserError, match=r"data\.name"):
            data.load(name)
    for field in ({"target": "a"}, {"target_kind": "value"}):
        with pytest.raises(UserError, match=r"for 'digits', which is not csv:PATH"):
            data.load("digits", **field)
    with pytest.raises(UserError, match=r"length: got 5, allowed: 128 .* is not text:PATH"):
        data.load("digits", length=5)


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(rows=st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=20))
def test_numbers_are_read_exactly(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text(text([tuple(map(repr, row)) for row in rows]))
    out = tmp_path_factory.mktemp("entry")
    _table.decode_table({"train": path}, out, _table.parse_target("b", "value"))
    expected = np.array(rows, np.float32)
    np.testing.assert_array_equal(np.load(out / "train_inputs.npy"), expected[:, [0, 2]])
    np.testing.assert_array_equal(np.load(out / "train_targets.npy"), expected[:, [1]])
