"""CIFAR-10's binary version: from batches, from the archive, never from pickles."""

import dataclasses
import io
import tarfile

import numpy as np
import pytest
import toysets
from preparing import prepare

from gpnas import data
from gpnas.data import _cifar, _known
from gpnas.data._split import hold_out
from gpnas.errors import UserError


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Small batches in `raw`, known as cifar10; yields their records."""
    entry, records = toysets.cifar_batches(tmp_path / "raw")
    monkeypatch.setitem(_known.KNOWN, "cifar10", entry)
    return records


def expected(records):
    """Images and labels of the train split, pixel by pixel."""
    split = split_of(records[hold_out(50, 0.1, 0)[0]])
    return split.inputs, split.targets


def split_of(records):
    """Records as images and labels."""
    return data.Split(np.moveaxis(records[:, 1:].reshape(-1, 3, 32, 32), 1, 3), records[:, 0])


@pytest.mark.parametrize("place", ["raw", f"raw/{_cifar.FOLDER}"])
def test_batches(toy, tmp_path, place):
    ds = data.load("cifar10", raw_dir=tmp_path / place)
    images, labels = expected(toy)
    np.testing.assert_array_equal(ds.train.inputs, images)
    np.testing.assert_array_equal(ds.train.targets, labels)
    assert ds.class_names[3] == "cat"
    again = data.load("cifar10", raw_dir=tmp_path / place)
    prepare(_known.KNOWN["cifar10"], split_of(toy[:50]), split_of(toy[50:]), tmp_path / "d")
    prepared = data.load("cifar10", data_dir=tmp_path / "d", cache_dir=tmp_path / "other")
    assert ds.sha256 == again.sha256 == prepared.sha256


def test_archive(toy, tmp_path, monkeypatch):
    here = tmp_path / "packed"
    here.mkdir()
    digest = toysets.archive(tmp_path / "raw", here)
    with pytest.raises(UserError, match="cifar-10-binary.*sha256"):
        data.load("cifar10", raw_dir=here)
    entry = dataclasses.replace(_known.KNOWN["cifar10"], sha256={_known.CIFAR_ARCHIVE: digest})
    monkeypatch.setitem(_known.KNOWN, "cifar10", entry)
    ds = data.load("cifar10", raw_dir=here)
    np.testing.assert_array_equal(ds.train.inputs, expected(toy)[0])


@pytest.mark.parametrize("kind", ["link", "short", "absent", "cut", "text"])
def test_hostile_archives(tmp_path, kind):
    path = tmp_path / "a.tar.gz"
    name = f"{_cifar.FOLDER}/test_batch.bin"
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo("elsewhere/x" if kind == "absent" else name)
        if kind == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(member)
        else:
            member.size = 10 if kind == "short" else 3073
            file.addfile(member, io.BytesIO(bytes(np.arange(member.size) % 251)))
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    if kind == "text":
        path.write_text("no archive")
    with pytest.raises(UserError, match=r"a\.tar\.gz"):
        _cifar.read_tar(path, ["test_batch.bin"], 1)


def test_incomplete_and_wrong_batches(toy, tmp_path):
    batch = tmp_path / "raw" / _cifar.FOLDER / "data_batch_3.bin"
    whole = batch.read_bytes()
    batch.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"data_batch_3\.bin.*30730 bytes"):
        data.load("cifar10", raw_dir=tmp_path / "raw")
    batch.write_bytes(b"\x09" + whole[1:])
    with pytest.raises(UserError, match="equally often"):
        data.load("cifar10", raw_dir=tmp_path / "raw")
    batch.write_bytes(whole[:5] + bytes(200) + whole[205:])
    with pytest.raises(UserError, match="channel means"):
        data.load("cifar10", raw_dir=tmp_path / "raw")
    batch.unlink()
    with pytest.raises(UserError, match=r"holds data_batch_3\.bin"):
        data.load("cifar10", raw_dir=tmp_path / "raw")


def test_pickles_are_not_read(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(UserError, match="pickles, which are never read"):
        data.load("cifar10", raw_dir=tmp_path)
