"""gpnas.data._idx: what is accepted, and that nothing else is."""

import gzip

import numpy as np
import pytest

from gpnas.data import _idx
from gpnas.errors import UserError

ARRAY = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
CONTENT = _idx.header(ARRAY.shape) + ARRAY.tobytes()


def test_header_is_that_of_mnist():
    assert _idx.header((60000, 28, 28)).hex() == "00000803" + "0000ea60" + "0000001c" + "0000001c"
    assert _idx.header((10000,)).hex() == "00000801" + "00002710"


@pytest.mark.parametrize("name", ["plain", "packed.gz"])
def test_reads_back(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(CONTENT) if name.endswith("gz") else CONTENT)
    array, content = _idx.read_idx(path, ARRAY.shape)
    np.testing.assert_array_equal(array, ARRAY)
    assert array.dtype == np.uint8
    assert content == CONTENT


@pytest.mark.parametrize(
    "content",
    [
        b"",
        CONTENT[:-1],
        CONTENT + b"x",
        b"\x00\x00\x0d" + CONTENT[3:],
        _idx.header((2, 6, 2)) + ARRAY.tobytes(),
    ],
    ids=["empty", "short", "long", "float", "other shape"],
)
def test_refuses_other_content(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UserError, match="file.*an idx file of uint8 of shape"):
        _idx.read_idx(path, ARRAY.shape)


@pytest.mark.parametrize(
    "content",
    [gzip.compress(CONTENT)[:-10], b"not gzip", gzip.compress(CONTENT)[:12] + b"\xff" * 30],
    ids=["cut", "not gzip", "bad stream"],
)
def test_names_a_broken_gzip_file(tmp_path, content):
    path = tmp_path / "broken.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.gz.*readable idx file"):
        _idx.read_idx(path, ARRAY.shape)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="absent"):
        _idx.read_idx(tmp_path / "absent", ARRAY.shape)


def test_does_not_unpack_more_than_it_needs(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(CONTENT + bytes(50_000_000), 1))
    with pytest.raises(UserError, match="of shape"):
        _idx.read_idx(path, ARRAY.shape)
