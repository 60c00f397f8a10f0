"""data.load on named sets: order of sources, checksums, preparation, cache, several processes."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import toysets
from preparing import prepare

from gpnas import data
from gpnas.data import Split, _cache, _known, _prepared, _raw, _sources
from gpnas.data._split import hold_out
from gpnas.errors import UserError


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """A small set that is known as mnist."""
    entry = toysets.toy_known()
    monkeypatch.setitem(_known.KNOWN, "mnist", entry)
    return entry


def check(ds):
    """The data set holds what `toysets.splits` made, in official order."""
    train, test = toysets.splits()
    kept, held = hold_out(len(train), 0.1, 0)
    np.testing.assert_array_equal(ds.train.inputs, train.inputs[kept])
    np.testing.assert_array_equal(ds.train.targets, train.targets[kept])
    np.testing.assert_array_equal(ds.validation.inputs, train.inputs[held])
    np.testing.assert_array_equal(ds.test.inputs, test.inputs)
    np.testing.assert_array_equal(ds.test.targets, test.targets)
    assert ds.class_names == ("even", "odd")


def leftovers(folder):
    """Temporary names that should be gone."""
    return list(Path(folder).rglob(".tmp-*"))


@pytest.mark.parametrize("compress", [True, False])
def test_raw_dir(tmp_path, home, compress):
    toysets.write_idx(tmp_path / "raw", compress=compress)
    check(data.load("mnist", raw_dir=tmp_path / "raw"))
    check(data.load("mnist", download=False))
    assert not (home / "tensorflow_datasets").exists()
    assert not leftovers(home)


@pytest.mark.parametrize("size", [None, 3])
def test_raw_files_are_decoded_as_prepared_data_are(tmp_path, toy, size):
    toysets.write_idx(tmp_path / "raw")
    prepare(toy, *toysets.splits(), tmp_path / "d")
    found = [
        data.load("mnist", cache_dir=tmp_path / str(n), image_size=size, **source)
        for n, source in enumerate([{"raw_dir": tmp_path / "raw"}, {"data_dir": tmp_path / "d"}])
    ]
    assert found[0].sha256 == found[1].sha256 and found[0].fields == found[1].fields
    np.testing.assert_array_equal(*(ds.train.inputs for ds in found))


def test_raw_files_need_no_tfds(tmp_path, python):
    toysets.write_idx(tmp_path / "raw")
    code = (
        "import sys; sys.modules |= dict.fromkeys(['array_record', 'tensorflow_datasets'])\n"
        f"sys.path.append({str(Path(__file__).parent)!r})\n"
        "import toysets; from gpnas import data; from gpnas.data import _known\n"
        "_known.KNOWN['mnist'] = toysets.toy_known()\n"
        "print(data.load('mnist', raw_dir=sys.argv[1], cache_dir=sys.argv[2]).sha256)"
    )
    done = python("-c", code, tmp_path / "raw", tmp_path / "cache")
    assert done.stdout.split() == [data.load("mnist", raw_dir=tmp_path / "raw").sha256], done.stderr


def test_raw_dir_is_the_only_place(tmp_path, home):
    paths = toysets.write_idx(tmp_path / "raw")
    data.load("mnist", raw_dir=tmp_path / "raw")
    paths[2].unlink()
    with pytest.raises(UserError, match=r"data\.raw_dir.*raw.*t10k-images-idx3-ubyte\.gz"):
        data.load("mnist", raw_dir=tmp_path / "raw")
    with pytest.raises(UserError, match=r"data\.raw_dir"):
        data.load("mnist", raw_dir=tmp_path / "absent")


def test_checksum(tmp_path):
    paths = toysets.write_idx(tmp_path / "raw", compress=False)
    data.load("mnist", raw_dir=tmp_path / "raw")
    content = bytearray(paths[0].read_bytes())
    content[-1] ^= 1
    paths[0].write_bytes(content)
    os.utime(paths[0], ns=(1, 1))
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte'.*sha256"):
        data.load("mnist", raw_dir=tmp_path / "raw")


def test_manual_folders_and_their_order(home, toy):
    for place in ("manual", "manual/mnist"):
        toysets.write_idx(home / "tensorflow_datasets/downloads" / place)
        check(data.load("mnist", download=False))
        shutil.rmtree(home / ".cache")
    # A broken file on the machine is told, not passed over.
    paths = toysets.write_idx(home / "tensorflow_datasets/downloads/manual/mnist")
    paths[1].write_bytes(b"broken")
    with pytest.raises(UserError, match="manual/mnist/train-labels"):
        data.load("mnist", download=False)


def test_an_incomplete_folder_is_passed_over_and_told(home):
    toysets.write_idx(home / "tensorflow_datasets/downloads/manual/mnist")[3].unlink()
    with pytest.raises(UserError, match=r"manual/mnist lacks t10k-labels-idx1-ubyte\.gz"):
        data.load("mnist", download=False)


def test_debian_folder(tmp_path, monkeypatch):
    toysets.write_idx(tmp_path / "usr")
    entry = toysets.toy_known(debian_folder=str(tmp_path / "usr"))
    monkeypatch.setitem(_known.KNOWN, "mnist", entry)
    check(data.load("mnist", download=False))


def test_prepared_data_come_before_raw_files(home, toy, tmp_path, monkeypatch):
    prepare(toy, *toysets.splits(), home / "tensorflow_datasets")
    monkeypatch.setattr(_sources, "obtain", None)
    check(data.load("mnist"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    shutil.move(home / "tensorflow_datasets", tmp_path / "elsewhere")
    check(data.load("mnist", cache_dir=tmp_path / "fresh"))
    check(data.load("mnist", cache_dir=tmp_path / "third", data_dir=tmp_path / "elsewhere"))


def test_the_cache_is_where_xdg_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    toysets.write_idx(tmp_path / "raw")
    data.load("mnist", raw_dir=tmp_path / "raw")
    assert (tmp_path / "xdg/gpnas/decoded/entries").is_dir()


def test_prepared_data_with_other_content_are_reported(home, toy):
    prepare(toy, *toysets.splits(seed=5), home / "tensorflow_datasets")
    with pytest.raises(UserError, match=r"data\.data_dir.*mnist/3\.0\.1.*train_images"):
        data.load("mnist")
    assert not leftovers(home)


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "metadata", "features"])
def test_damaged_prepared_data(home, toy, damage):
    folder = prepare(toy, *toysets.splits(), home / "tensorflow_datasets")
    path = folder / "mnist-test.array_record-00000-of-00001"
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        middle = 600
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    elif damage == "gone":
        path.unlink()
    elif damage == "metadata":
        (folder / "dataset_info.json").write_text("{")
    else:
        (folder / "features.json").write_text("{")
    with pytest.raises(UserError, match=r"data\.(data_dir|name).*mnist/3\.0\.1"):
        data.load("mnist", download=False)
    assert not leftovers(home)


def test_tfrecord_is_reported(home, toy):
    folder = prepare(toy, *toysets.splits(), home / "tensorflow_datasets")
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match=r"mnist/3\.0\.1 is tfrecord, not array_record"):
        data.load("mnist", download=False)


def test_round_trip_through_tfds_without_tensorflow(tmp_path, toy):
    import tensorflow_datasets as tfds

    train, test = toysets.splits()
    folder = prepare(toy, train, test, tmp_path)
    builder = tfds.builder_from_directory(folder)
    assert builder.info.features["label"].names == ["even", "odd"]
    assert builder.info.supervised_keys == ("image", "label")
    for name, split in (("train", train), ("test", test)):
        source = tfds.data_source("mnist", split=name, data_dir=tmp_path)
        order = _prepared.tfds_order(name, len(split))
        assert len(source) == len(split)
        for position in range(len(split)):
            np.testing.assert_array_equal(source[position]["image"], split.inputs[order[position]])
            assert source[position]["label"] == split.targets[order[position]]
    assert "tensorflow" not in sys.modules


def test_order_is_that_of_tfds():
    from tensorflow_datasets.core import hashing

    hasher = hashing.Hasher("train")
    wanted = sorted(range(1000), key=hasher.hash_key)
    np.testing.assert_array_equal(_prepared.tfds_order("train", 1000), wanted)


def test_any_prepared_set(tmp_path, monkeypatch):
    entry = dataclasses.replace(toysets.toy_known(), name="toy")
    train, test = toysets.splits()
    prepare(entry, train, test, tmp_path / "d", "1.2.0")
    prepare(entry, *toysets.splits(seed=3), tmp_path / "d", "1.10.0")
    ds = data.load("toy", data_dir=tmp_path / "d")  # the newest, in the order of its records
    order = _prepared.tfds_order("train", len(train))
    rows = order[hold_out(len(train), 0.1, 0)[0]]
    np.testing.assert_array_equal(ds.train.inputs, toysets.splits(seed=3)[0].inputs[rows])
    (tmp_path / "d/nested").mkdir()
    shutil.move(tmp_path / "d/toy", tmp_path / "d/nested/toy")
    with pytest.raises(UserError, match="configurations: name/toy"):
        data.load("nested", data_dir=tmp_path / "d")
    assert data.load("nested/toy", data_dir=tmp_path / "d").sha256 == ds.sha256
    # Without a test split, validation takes its place; with neither there is nothing to report on.
    info = tmp_path / "d/nested/toy/1.10.0/dataset_info.json"
    told = json.loads(info.read_text())
    assert {split["name"] for split in told["splits"]} == {"train", "test"}
    told["splits"] = [split for split in told["splits"] if split["name"] == "train"]
    info.write_text(json.dumps(told))
    with pytest.raises(UserError, match="splits train and test, not"):
        data.load("nested/toy", data_dir=tmp_path / "d", cache_dir=tmp_path / "c")


def test_a_prepared_validation_set_is_used(tmp_path):
    entry = dataclasses.replace(toysets.toy_known(), name="toy")
    folder = prepare(entry, *toysets.splits(), tmp_path / "d")
    two = data.load("toy", data_dir=tmp_path / "d")
    info = folder / "dataset_info.json"
    told = json.loads(info.read_text())
    (test,) = (split for split in told["splits"] if split["name"] == "test")
    told["splits"].append(test | {"name": "validation"})
    info.write_text(json.dumps(told))
    name = "toy-{}.array_record-00000-of-00001"
    shutil.copy(folder / name.format("test"), folder / name.format("validation"))
    three = data.load("toy", data_dir=tmp_path / "d")
    assert len(three.train) == len(two.train) + len(two.validation) == toysets.ROWS["train"]
    np.testing.assert_array_equal(three.validation.inputs, three.test.inputs)
    assert three.sha256 != two.sha256


def test_prepared_images_of_several_sizes(tmp_path):
    entry = dataclasses.replace(toysets.toy_known(), name="toy", shape=(None, None, 1))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (4 + n % 3, 5, 1), dtype=np.uint8) for n in range(20)]
    split = Split(images, np.arange(20) % 2)
    prepare(entry, split, split, tmp_path)
    with pytest.raises(UserError, match=r"data\.image_size.*differ in size"):
        data.load("toy", data_dir=tmp_path)
    assert data.load("toy", data_dir=tmp_path, image_size=8).input_shape == (8, 8, 1)


def test_other_tasks_are_refused(tmp_path):
    entry = dataclasses.replace(toysets.toy_known(), name="toy")
    folder = prepare(entry, *toysets.splits(), tmp_path)
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"label"', '"image"'))
    with pytest.raises(UserError, match=r"data\.name.*toy.*an image classification set"):
        data.load("toy", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["foo", "", "../mnist", "MNIST", "a/b/c", "folder", 3, None])
def test_unknown_names_fail_fast(name):
    start = time.monotonic()
    with pytest.raises(UserError, match=r"data\.name.*folder:PATH, csv:PATH.*or an image"):
        data.load(name)
    assert time.monotonic() - start < 1


def test_no_source_is_one_error_in_time(monkeypatch):
    entry = toysets.toy_known(debian_package="no-such-package", debian_folder="/no/such/folder")
    monkeypatch.setitem(_known.KNOWN, "mnist", entry)
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        data.load("mnist")
    assert time.monotonic() - start < 30
    message = str(caught.value)
    assert message.startswith("data.name: got 'mnist'")
    assert "\n" not in message
    for part in (
        "tensorflow_datasets/mnist",
        "downloads/manual/mnist",
        "/no/such/folder",
        "Debian: no apt-get",
        "http://127.0.0.1:9/train-images-idx3-ubyte.gz: <urlopen error",
        "data.raw_dir",
    ):
        assert part in message
    with pytest.raises(UserError, match="download=False"):
        data.load("mnist", download=False)


def test_second_load_touches_no_source(tmp_path, monkeypatch, home):
    toysets.write_idx(tmp_path / "raw")
    data.load("mnist", raw_dir=tmp_path / "raw")
    for module, name in ((_raw, "read_raw"), (_sources, "obtain"), (_prepared, "decode_prepared")):
        monkeypatch.setattr(module, name, None)
    ds = data.load("mnist", raw_dir=tmp_path / "raw")
    check(ds)
    assert not ds.test.inputs.flags.writeable
    assert not ds.test.inputs.flags.owndata  # a view of the memory map


def test_one_entry_a_content_another_a_size(tmp_path, home):
    toysets.write_idx(tmp_path / "raw")
    entries = home / ".cache/gpnas/decoded/entries"
    whole = data.load("mnist", raw_dir=tmp_path / "raw")
    assert data.load("mnist").sha256 == whole.sha256
    assert len(list(entries.iterdir())) == 1
    small = data.load("mnist", raw_dir=tmp_path / "raw", image_size=3)
    assert small.input_shape == (3, 3, 1)
    assert small.sha256 != whole.sha256
    assert len(list(entries.iterdir())) == 2


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "meta", "name", "pickle", "key"])
def test_a_damaged_cache_is_made_again(tmp_path, home, damage, caplog):
    toysets.write_idx(tmp_path / "raw")
    digest = data.load("mnist", raw_dir=tmp_path / "raw").sha256
    decoded = home / ".cache/gpnas/decoded"
    (images,) = decoded.glob("entries/*/train_inputs.npy")
    if damage == "flipped":
        content = images.read_bytes()
        images.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        images.write_bytes(images.read_bytes()[:-1])
    elif damage == "gone":
        images.unlink()
    elif damage == "meta":
        (images.parent / "meta.json").write_text("[]")
    elif damage == "name":
        meta = images.parent / "meta.json"
        meta.write_text(meta.read_text().replace("even", "evem"))
    elif damage == "pickle":
        np.save(images, np.array([{"a": 1}], object), allow_pickle=True)
    else:
        for path in (decoded / "keys").iterdir():
            path.write_text("{")
    ds = data.load("mnist", raw_dir=tmp_path / "raw")
    check(ds)
    assert ds.sha256 == digest
    assert "made again" in caplog.text
    assert not leftovers(home)


def test_a_place_that_cannot_be_written(tmp_path):
    toysets.write_idx(tmp_path / "raw")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"data\.cache_dir.*can be written"):
        data.load("mnist", raw_dir=tmp_path / "raw", cache_dir=tmp_path / "file")


def test_old_leftovers_are_removed(tmp_path, home):
    entries = home / ".cache/gpnas/decoded/entries"
    for name, age in ((".tmp-old", 2 * 24 * 3600), (".tmp-new", 0)):
        (entries / name).mkdir(parents=True)
        os.utime(entries / name, (time.time() - age,) * 2)
    toysets.write_idx(tmp_path / "raw")
    data.load("mnist", raw_dir=tmp_path / "raw")
    assert [path.name for path in leftovers(home)] == [".tmp-new"]


def test_a_failure_leaves_nothing(home, tmp_path, monkeypatch):
    toysets.write_idx(tmp_path / "raw")
    monkeypatch.setattr(_cache, "save_targets", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        data.load("mnist", raw_dir=tmp_path / "raw")
    monkeypatch.undo()
    assert not leftovers(home)


@pytest.mark.slow
def test_processes_at_once(tmp_path, home):
    toysets.write_idx(tmp_path / "raw")
    code = (
        "import toysets, sys; from gpnas import data; from gpnas.data import _known\n"
        "_known.KNOWN['mnist'] = toysets.toy_known()\n"
        "print(data.load('mnist', raw_dir=sys.argv[1]).sha256)"
    )
    root = Path(data.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{Path(__file__).parent}"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "raw")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert len({output for output, _ in outputs}) == 1
    assert len(list((home / ".cache/gpnas/decoded/entries").iterdir())) == 1
    assert not leftovers(home)
    check(data.load("mnist"))
