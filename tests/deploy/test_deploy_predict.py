"""Images in, class names and probabilities out: of a run and of each exported file the same."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpnas import deploy
from gpnas.deploy import export, predict, side_file
from gpnas.deploy._describe import description_of
from gpnas.errors import UserError
from gpnas.train import base, load_run, train

NAMES = ("1", "2", "10")


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    """A finished run on colour images of numbered classes, resized to 8 x 8, and its folder."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 2)):
        for label, name in enumerate(NAMES):
            (root / split / name).mkdir(parents=True)
            for row in range(count):
                noise = rng.integers(0, 90, (12, 10, 3), dtype=np.uint8)
                noise[..., label] += 150
                Image.fromarray(noise).save(root / split / name / f"{row}.png")
    config = base(name="gmp", density=0.5, every=1)
    config.data.name, config.data.cache_dir = f"folder:{root}", str(root / "cache")
    config.data.image_size = 8
    config.model.widths = (16, 8)
    config.train.epochs, config.train.batch_size = 20, 8
    config.train.tensorboard = False
    train(config, root / "run")
    return root


def available():
    """Formats of which the packages are installed."""
    for name in deploy.EXTRAS:
        try:
            deploy.require_formats([name])
            yield name
        except UserError:
            continue


@pytest.mark.slow
def test_a_run_predicts_what_it_was_tested_on(image_folder):
    run = load_run(image_folder / "run")
    paths = predict.find_images([image_folder / "test"])
    assert [path.parent.name for path in paths] == ["1", "1", "10", "10", "2", "2"]
    found = list(predict.predict(predict.from_run(image_folder / "run"), paths, top=9))
    assert [one.classes[0][0] for one in found] == [path.parent.name for path in paths]
    assert {name for name, _ in found[0].classes} == {*NAMES}
    for one in found:
        shares = [share for _, share in one.classes]
        assert sum(shares) == pytest.approx(1) and shares == sorted(shares, reverse=True)
    assert run.record["class_names"] == list(NAMES)
    assert run.record["metrics"]["test_error_selected"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stablehlo", "safetensors", "onnx", "tflite"])
def test_files_predict_what_the_run_does(image_folder, tmp_path, name):
    if name not in available():
        pytest.skip(f"{name}: extra not installed")
    folder = tmp_path / "run"
    shutil.copytree(image_folder / "run", folder)
    report = export.export_run(folder, [name], int8=name == "onnx", seconds=0)
    paths = predict.find_images([image_folder / "test"])
    wanted = list(predict.predict(predict.from_run(image_folder / "run"), paths))
    for row in report["files"]:
        path = folder / "export" / row["file"]
        loose = 0.1 if "int8" in row["format"] else 1e-4
        for one, two in zip(predict.predict(predict.from_file(path), paths), wanted, strict=True):
            assert one.classes[0][0] == two.classes[0][0]
            assert dict(one.classes) == pytest.approx(dict(two.classes), abs=loose)
        _check_damage(path)
        if name == "onnx":  # which holds the names itself
            side_file(path).unlink()
            assert predict.from_file(path).description.class_names == NAMES
        elif name != "safetensors":
            side_file(path).unlink()
            with pytest.raises(UserError, match="class names"):
                predict.from_file(path)


def _check_damage(path):
    """One line for a changed, a cut and a foreign file; the file is restored."""
    original = path.read_bytes()
    flipped = bytearray(original)
    flipped[len(original) // 2] ^= 4
    for content in (bytes(flipped), original[: len(original) // 2], b"", b"no network"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="file: got") as caught:
            predict.from_file(path)
        assert "\n" not in str(caught.value)
        if path.suffix != ".json":  # without its digest the runtime notices what it can
            aside = side_file(path).rename(path.with_name("aside"))
            if content != bytes(flipped):
                with pytest.raises(UserError, match="file: got"):
                    predict.from_file(path)
            aside.rename(side_file(path))
    path.write_bytes(original)


@pytest.mark.slow
@pytest.mark.parametrize(
    "paths, error",
    [
        (["absent.png"], "images: got .*absent.png', allowed: an image or a folder that exists"),
        (["broken.png"], "images: got .*broken.png', allowed: a readable image: .png, .jpg"),
        (["empty"], "images: got .*empty', allowed: a folder with images: .png, .jpg"),
        ([], "images: got ''"),
    ],
)
def test_wrong_images(image_folder, tmp_path, paths, error):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_text("x")
    with pytest.raises(UserError, match=error):
        list(
            predict.predict(
                predict.from_run(image_folder / "run"),
                predict.find_images([tmp_path / one for one in paths]),
            )
        )


def test_wrong_files(tmp_path):
    for name in ("absent.onnx", "net.pt"):
        with pytest.raises(UserError, match="file: got"):
            predict.from_file(tmp_path / name)


@pytest.mark.slow
def test_changed_names_are_noticed(image_folder, tmp_path):
    pytest.importorskip("flatbuffers")
    folder = tmp_path / "run"
    shutil.copytree(image_folder / "run", folder)
    export.export_run(folder, ["stablehlo"], seconds=0)
    path = folder / "export" / "compact.stablehlo"
    side = side_file(path)
    told = json.loads(side.read_text())
    side.write_text(json.dumps(told | {"class_names": ["1", "10", "2"]}))
    with pytest.raises(UserError, match="file: got .*its digest is another"):
        predict.from_file(path)


def test_classes_without_names_have_their_numbers():
    assert description_of((), 3, (8, 8, 1)) == (("0", "1", "2"), (8, 8, 1))
    assert description_of(("a", "b", "c"), 3, (8, 8, 1)).class_names == ("a", "b", "c")


def test_hidden_files_and_folders_are_ignored(tmp_path):
    for name in (".thumbnails/a.png", "b/.c/a.png", "b/.a.png", "b/a.png"):
        (tmp_path / ".below" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(tmp_path / ".below" / name)
    assert predict.find_images([tmp_path / ".below"]) == [tmp_path / ".below/b/a.png"]


def test_a_prediction_is_one_printable_line():
    """Names of files and classes need not be UTF-8."""
    path = Path(os.fsdecode(b"a\xff.png"))
    line = predict.to_line(predict.Prediction(path, (("b\nc", 0.75), ("d\ud800", 0.25))))
    assert line == "a\ufffd.png: b c 75.0 %, d\ufffd 25.0 %"
    line.encode()
