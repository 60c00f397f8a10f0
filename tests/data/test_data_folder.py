"""data.load on a folder of images."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpnas import data
from gpnas.data import _folder as folder_lib
from gpnas.errors import UserError


def write_image(path: Path, value=0, size=(6, 4), mode="RGB", **options) -> None:
    """Writes an image of one colour; `size` is width, height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (value, value, value)[: len(mode)] if mode in ("RGB",) else value
    Image.new(mode, size, colour).save(path, **options)


@pytest.fixture
def root(tmp_path):
    """Two classes, five images each to train on and two to test on."""
    here = tmp_path / "images"
    for number, name in enumerate(("ape", "bee")):
        for row in range(5):
            write_image(here / "train" / name / f"{row}.png", 100 * number + row)
        write_image(here / "test" / name / "0.jpg", 100 * number)
        write_image(here / "test" / name / "1.JPEG", 100 * number)
    return here


def load(root, **arguments):
    return data.load(f"folder:{root}", validation=0.2, **arguments)


def test_reads_classes_and_images(root):
    ds = load(root)
    assert ds.class_names == ("ape", "bee")
    assert ds.input_shape == (4, 6, 3)
    assert (len(ds.train), len(ds.validation), len(ds.test)) == (8, 2, 4)
    values = np.concatenate([ds.train.inputs, ds.validation.inputs])[:, 0, 0, 0]
    assert sorted(values) == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]
    labels = np.concatenate([ds.train.targets, ds.validation.targets])
    np.testing.assert_array_equal(labels, values >= 100)
    np.testing.assert_array_equal(ds.test.targets, [0, 0, 1, 1])


def test_second_load_opens_no_image(root, monkeypatch):
    first = load(root)
    monkeypatch.setattr(folder_lib, "decode_folder", None)
    second = load(root)
    assert first.sha256 == second.sha256
    np.testing.assert_array_equal(first.train.inputs, second.train.inputs)


@pytest.mark.parametrize("change", ["touched", "new", "gone"])
def test_a_change_is_noticed(root, change):
    first = load(root)
    path = root / "train/ape/3.png"
    if change == "touched":
        old = path.stat()
        write_image(path, 77)
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns + 1))
    elif change == "new":
        write_image(root / "train/ape/9.png", 77)
    else:
        path.unlink()
    second = load(root)
    assert first.sha256 != second.sha256
    assert (77 in second.train.inputs) or (77 in second.validation.inputs) or change == "gone"


def test_gray_images_stay_gray(root):
    for path in root.rglob("*.*"):
        write_image(path, 9, mode="L")
    assert load(root).input_shape == (4, 6, 1)
    write_image(root / "train/ape/0.png", 9, mode="RGB")
    assert load(root).input_shape == (4, 6, 3)


def test_sizes_must_agree_or_be_given(root):
    write_image(root / "train/bee/7.png", 0, size=(9, 9))
    with pytest.raises(UserError, match=r"data\.image_size.*7\.png: 9 x 9.*4 x 6"):
        load(root)
    assert load(root, image_size=(5, 7)).input_shape == (5, 7, 3)
    assert load(root, image_size=3).input_shape == (3, 3, 3)


def test_palette_alpha_and_rotation(root):
    write_image(root / "train/ape/0.png", 3, mode="P")
    write_image(root / "train/ape/1.png", 3, mode="LA"[:1])
    Image.new("RGBA", (6, 4), (1, 2, 3, 0)).save(root / "train/ape/2.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees: stored 4 wide and 6 high, shown 6 wide and 4 high
    write_image(root / "train/ape/5.jpg", 3, size=(4, 6), exif=exif)
    assert load(root).input_shape == (4, 6, 3)


@pytest.mark.parametrize(
    "content", [b"", b"no image", "cut", "flipped"], ids=["empty", "text", "cut", "flipped"]
)
def test_a_broken_image_is_named(root, content):
    path = root / "train/bee/2.png"
    noise = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    if content == "cut":
        content = whole[:60]
    elif content == "flipped":
        content = whole[:50] + bytes([whole[50] ^ 255]) + whole[51:]
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"data\.name.*bee/2\.png.*a readable image"):
        load(root)


def test_images_of_32_bits_are_refused(root):
    write_image(root / "train/bee/2.tif", 60000, mode="I")
    with pytest.raises(UserError, match=r"bee/2\.tif.*8 or 16 bits"):
        load(root)


def test_stray_files_beside_classes_are_named(root, caplog):
    for name in ("Thumbs.db", ".DS_Store", "README"):
        (root / "train" / name).write_text("x")
    assert len(load(root).test) == 4
    assert "train: 2 entries are not images, ignored: README, Thumbs.db" in caplog.text


def test_other_files_are_ignored_with_a_warning(root, caplog):
    (root / "train/ape/notes.txt").write_text("x")
    (root / "train/ape/.hidden.png").write_text("x")
    (root / "train/.cache").mkdir()
    assert len(load(root).test) == 4
    assert "1 entries are not images" in caplog.text


def test_wrong_folders(root, tmp_path):
    for path, message in ((tmp_path / "absent", "a folder train/"), (root / "train", "train/")):
        with pytest.raises(UserError, match=message):
            load(path)
    with pytest.raises(UserError, match=r"folder:PATH"):
        load("")
    (root / "test/cow").mkdir()
    with pytest.raises(UserError, match="test/cow.*a class of train/: ape, bee"):
        load(root)


def test_one_class(tmp_path):
    write_image(tmp_path / "one/train/ape/0.png")
    write_image(tmp_path / "one/test/ape/0.png")
    with pytest.raises(UserError, match="at least two class folders in train/, not 1"):
        load(tmp_path / "one")


def test_empty_folders(root):
    (root / "train/cow").mkdir()
    with pytest.raises(UserError, match="train/cow.*images in it"):
        load(root)
    (root / "train/cow").rmdir()
    for path in (root / "test").rglob("*.*"):
        path.unlink()
    with pytest.raises(UserError, match="test.*images of the classes"):
        load(root)


def test_home_is_expanded(root, home):
    root.rename(home / "mine")
    assert load("~/mine").num_classes == 2


@pytest.mark.parametrize("room", [50, 200, 350])  # images, labels and meta.json are larger
def test_a_full_disk_ends_with_an_error_and_leaves_nothing(root, tmp_path, no_room, room):
    cache = tmp_path / "cache"
    with no_room(room), pytest.raises(OSError, match=r"File too large: '.*entries'"):
        load(root, cache_dir=cache, image_size=16)
    assert not list((cache / "entries").iterdir())
    assert load(root, cache_dir=cache, image_size=16).sha256 == load(root, image_size=16).sha256


def test_folders_whose_files_are_alike_have_their_own_images(tmp_path):
    for number, name in enumerate(("one", "two")):
        for part in ("train/a", "train/b", "test/a", "test/b"):
            for row in range(2):
                path = tmp_path / name / part / f"{row}.bmp"
                write_image(path, 100 * number + row)
                os.utime(path, (3e8, 3e8))
        found = load(tmp_path / name, cache_dir=tmp_path / "cache")
        assert sorted(found.test.inputs[:, 0, 0, 0]) == 2 * [100 * number] + 2 * [100 * number + 1]
