"""JSON files: whole or not at all, and checked when read."""

import errno
import json
import pathlib
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas import _files
from gpnas.errors import UserError


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'"a"', b"\xff\xfe", b"[" * 100_000, b""], ids=lambda c: repr(c[:5])
)
def test_a_damaged_json_file_is_one_line_that_names_the_file(tmp_path, content):
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(UserError, match=r"workdir: got .*record\.json.*, allowed: a record"):
        _files.read_json(tmp_path / "record.json", "workdir", "a record")


def test_a_missing_json_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="allowed: a record .*No such file"):
        _files.read_json(tmp_path / "record.json", "workdir", "a record")


def test_lines_that_are_not_objects_are_left_out(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n[]\n' + b"[" * 100_000 + b'\n\xff\n{"a": 2}\n{"a": ')
    assert _files.read_lines(path) == [{"a": 1}, {"a": 2}]
    _files.append_line(path, {"a": 3})
    assert _files.read_lines(path) == [{"a": 1}, {"a": 2}, {"a": 3}]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


_FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.slow
@given(_JSON, st.lists(st.integers() | _FINITE, min_size=1))
def test_what_is_written_is_read_and_numbers_share_a_line(content, numbers):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a.json"
        whole = {"a": content, "b": [numbers, "[\n 1,\n 2\n]"]}
        _files.write_json(path, whole)
        assert json.loads(path.read_text()) == whole
        assert f"  {json.dumps(numbers)},\n" in path.read_text()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "record.json"
    _files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        _files.write_json(path, {"a": object()})
    assert _files.read_json(path, "workdir", "a record") == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("study", ["", "..", "a/b", "../up", "/etc", "a\\b"])
def test_a_study_that_would_leave_its_folder_is_refused(study):
    with pytest.raises(UserError, match="study: got .*, allowed: the name of one folder"):
        _files.records_path("results", study)


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, no_room):
    path = tmp_path / "record.json"
    _files.write_json(path, {"a": 1})
    with no_room(100), pytest.raises(OSError, match=r"File too large.*record\.json'") as raised:
        _files.write_json(path, {"a": "b" * 1000})
    assert _files.disk_failure(raised.value)
    assert _files.read_json(path, "workdir", "a record") == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_a_line_that_a_full_disk_cut_off_is_left_out(tmp_path, no_room):
    path = tmp_path / "lines.jsonl"
    _files.append_line(path, {"a": 1})
    with no_room(100), pytest.raises(OSError, match=r"File too large.*lines\.jsonl'"):
        _files.append_line(path, {"a": "b" * 1000})
    _files.append_line(path, {"a": 2})
    assert _files.read_lines(path) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    "error, number",
    [
        (OSError(errno.EDQUOT, "x"), errno.EDQUOT),
        (RuntimeError("write() failed: No space left on device; at byte 0"), errno.ENOSPC),
        (OSError(errno.EACCES, "x"), None),
        (ValueError("4096 requested and 0 written"), None),
    ],
)
def test_disk_failures_of_other_libraries_are_known_by_their_text(error, number):
    assert _files.disk_failure(error) == number
