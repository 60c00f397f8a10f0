"""The commands that export a run and write the page about it."""

import json
from pathlib import Path

import pytest
from PIL import Image

from gpnas.train import base, train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a finished run of the digits."""
    config = base(name="gmp", density=0.1, every=8)
    config.data.name, config.data.cache_dir = "digits", str(tmp_path_factory.mktemp("cache"))
    config.model.widths, config.train.epochs, config.train.batch_size = (16, 8), 2, 64
    config.train.tensorboard = False
    folder = tmp_path_factory.mktemp("runs") / "gmp"
    train(config, folder)
    return folder


@pytest.mark.slow
def test_it_exports_and_tells(python, run, tmp_path):
    records = tmp_path / "exports.jsonl"
    done = python(
        "experiments/export.py", f"--workdir={run}", "--formats=stablehlo", "--seconds=0",
        f"--records={records}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "compact.stablehlo" in done.stdout and "dense.stablehlo" in done.stdout
    assert done.stdout.strip().endswith("export.json")
    assert json.loads(records.read_text()) == json.loads(
        (run / "export" / "export.json").read_text()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags, error",
    [
        (["--workdir=nowhere"], "workdir: got 'nowhere', allowed: the folder of a run"),
        (["--workdir=nowhere", "--seconds=-1"], "seconds: got -1.0, allowed: 0 or more"),
        (
            ["--workdir=nowhere", "--records=nowhere/x.jsonl"],
            "workdir: got 'nowhere', allowed: the",
        ),
        (
            ["--workdir=nowhere", "--records=run.sh/x.jsonl"],
            "records: got 'run.sh', allowed: a fold",
        ),
        (["--workdir=nowhere", "--records=record.json"], "records: got 'record.json', allowed: a "),
        (["--workdir=nowhere", "--formats=pdf"], "formats: got 'pdf', allowed: onnx, stablehlo"),
    ],
)
def test_a_mistake_is_one_line(python, flags, error):
    done = python("experiments/export.py", *flags)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(error)
    assert not (ROOT / "nowhere").exists()


@pytest.mark.slow
def test_predict_prints_a_line_per_image(python, run, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for number, path in enumerate(paths):
        Image.new("L", (8, 8), 100 * number).save(path)
    given = f"--images={paths[0]},{paths[1]}"
    done = python("experiments/predict.py", f"--workdir={run}", given, "--top=2")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == list(map(str, paths))
    assert all(line.count("%") == 2 for line in lines)
    done = python("experiments/predict.py", f"--workdir={run}", given, "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["image"] for one in told] == list(map(str, paths))
    assert all(one["classes"][0]["name"] in "0123456789" for one in told)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags, error",
    [
        (["--images=a.png"], "workdir: got None, allowed: either --workdir=RUN or --file"),
        (["--images=a.png", "--workdir=a"], "images: got 'a.png', allowed: an image or"),
        (["--images=README.md", "--file=a.pt"], "file: got 'a.pt', allowed: a file ending in"),
        (["--images=README.md", "--file=a.onnx", "--network=last"], "network: got 'last', allowed"),
    ],
)
def test_a_mistake_of_predict_is_one_line(python, flags, error):
    done = python("experiments/predict.py", *flags)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(error)
