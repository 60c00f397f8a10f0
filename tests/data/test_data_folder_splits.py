"""data.load on a folder: its own validation set, the order of classes, rare classes."""

import numpy as np
import pytest
from PIL import Image

from gpnas import data
from gpnas.errors import UserError


def fill(root, split, counts, value=0):
    """Gray images of one value each, `counts` of each class."""
    for name, count in counts.items():
        folder = root / split / name
        folder.mkdir(parents=True, exist_ok=True)
        for row in range(count):
            value += 1
            Image.new("L", (4, 4), value).save(folder / f"{row}.png")
    return value


@pytest.fixture
def root(tmp_path):
    """Two classes: 6 images each to train on, of the values 1 to 12, and 13 to 16 to test."""
    here = tmp_path / "images"
    fill(here, "test", {"ape": 2, "bee": 2}, fill(here, "train", {"ape": 6, "bee": 6}))
    return here


def values(split):
    return sorted(split.inputs[:, 0, 0, 0])


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_folder_is_the_validation_set(root, name, caplog):
    fill(root, name, {"ape": 1, "bee": 2}, 100)
    ds = data.load(f"folder:{root}", validation=0.5, seed=3)
    assert "data.validation=0.5 is not used" in caplog.text
    assert values(ds.train) == list(range(1, 13))
    assert values(ds.validation) == [101, 102, 103]
    assert ds.validation.targets.tolist() == [0, 1, 1]
    np.testing.assert_allclose(ds.mean, [ds.train.inputs.mean() / 255], rtol=1e-5)
    again = data.load(f"folder:{root}")  # from the cache, of which the fraction is no part
    assert values(again.validation) == values(ds.validation) and again.sha256 == ds.sha256


def test_a_validation_folder_is_part_of_the_data_set(root):
    plain = data.load(f"folder:{root}", validation=0.2)
    fill(root, "val", {"ape": 1}, 100)
    held = data.load(f"folder:{root}")
    (root / "val/ape/0.png").unlink()
    fill(root, "val", {"ape": 1}, 101)
    other = data.load(f"folder:{root}")
    assert len({plain.sha256, held.sha256, other.sha256}) == 3
    assert values(other.validation) == [102]
    (root / "val").rename(root / "old")
    assert data.load(f"folder:{root}", validation=0.2).sha256 == plain.sha256


def test_wrong_validation_folders(root):
    (root / "val").mkdir()
    with pytest.raises(UserError, match="images/val.*images of the classes"):
        data.load(f"folder:{root}")
    fill(root, "val", {"cow": 1})
    with pytest.raises(UserError, match="val/cow.*a class of train/: ape, bee"):
        data.load(f"folder:{root}")
    (root / "valid").mkdir()
    with pytest.raises(UserError, match="a folder with one of val/, valid/"):
        data.load(f"folder:{root}")


def test_numbered_classes_are_in_numeric_order(tmp_path):
    names = ["1", "2", "10", "a2", "a010", "a10", "b"]
    for split in ("train", "test"):
        fill(tmp_path, split, dict.fromkeys(reversed(names), 2))
    ds = data.load(f"folder:{tmp_path}")
    assert list(ds.class_names) == names
    first = ds.test.inputs[:, 0, 0, 0].argsort()  # written in reverse order
    assert ds.test.targets[first].tolist() == [label for label in range(6, -1, -1) for _ in (0, 1)]


def test_renamed_classes_have_their_new_names(root):
    assert data.load(f"folder:{root}").class_names == ("ape", "bee")
    for split in ("train", "test"):
        (root / split / "ape").rename(root / split / "Affe")
    ds = data.load(f"folder:{root}")
    assert ds.class_names == ("Affe", "bee")  # the same images: not the entry of before


def test_a_rare_class_stays_in_training(tmp_path):
    for split in ("train", "test"):
        fill(tmp_path, split, {"ape": 60, "bee": 60, "cow": 1})
    for seed in (3, 18, 33):
        ds = data.load(f"folder:{tmp_path}", seed=seed)
        assert np.bincount(ds.train.targets, minlength=3).min() >= 1
        assert len(ds.validation) == 12
