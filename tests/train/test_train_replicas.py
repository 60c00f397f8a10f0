"""Seeds that train at once are the seeds that train alone."""

import json

import pytest

from gpnas.errors import UserError
from gpnas.train import train, train_replicas

METHOD = {"name": "granet", "density": 0.2, "every": 5}


@pytest.fixture(scope="module")
def seeds(tiny):
    """`(*seeds, resume) → configs`."""

    def make(*numbers, resume=False):
        found = []
        for seed in numbers:
            config = tiny(**METHOD)
            config.seed, config.resume = seed, resume
            config.data.augment = "pad_crop(1)|cutout(2)"
            found.append(config)
        return found

    return make


@pytest.fixture(scope="module")
def together(seeds, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    return train_replicas(seeds(3, 4, 5), [folder / str(i) for i in range(3)], digits)


def curve(record, *names):
    return [[point[name] for name in names] for point in record["curve"]]


@pytest.mark.slow
def test_as_alone(together, seeds, digits, tmp_path):
    alone = train(seeds(4)[0], tmp_path, digits)
    record = together[1]
    assert record["config"] == alone["config"]
    assert record["compilations"] == alone["compilations"] == 1
    # exchanged weights may differ where two scores all but tie, numbers that are planned may not
    assert curve(record, "step", "density") == curve(alone, "step", "density")
    assert record["cost"]["nonzeros"] == alone["cost"]["nonzeros"]
    assert record["cost"]["train_flops"] == pytest.approx(alone["cost"]["train_flops"], rel=1e-3)
    for name, error in alone["metrics"].items():
        if "error" in name:
            assert abs(record["metrics"][name] - error) < 6


def test_replicas_differ(together):
    layers = [json.dumps(record["layers"]) for record in together]
    errors = [record["metrics"]["val_error_last"] for record in together]
    assert len(set(layers)) == 3 or len(set(errors)) == 3


@pytest.mark.slow
def test_resume(together, seeds, digits, tmp_path, stop_at):
    folders = [tmp_path / str(i) for i in range(3)]
    with stop_at(28):
        train_replicas(seeds(3, 4, 5), folders, digits)
    assert [path.name for path in folders[0].glob("checkpoints*")] == ["checkpoints-3-4-5"]
    found = train_replicas(seeds(3, 4, 5, resume=True), folders, digits)
    for record, expected in zip(found, together, strict=True):
        for name in ("metrics", "cost", "curve", "layers", "seed"):
            assert record[name] == expected[name]


@pytest.mark.slow
def test_interrupted_seeds_resume_only_together(seeds, digits, tmp_path, stop_at):
    def folders(*numbers):
        return [tmp_path / str(number) for number in numbers]

    with stop_at(28):
        train_replicas(seeds(3, 8), folders(3, 8), digits)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for others in ((3, 4), (3, 4, 8), (8, 3), (8,), (4, 8)):
        with pytest.raises(
            UserError, match=r"seeds: got \(.*, allowed: \(3, 8\), which .*/[38] has"
        ):
            train_replicas(seeds(*others, resume=True), folders(*others), digits)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_seed_that_began_alone_resumes_alone(seeds, digits, tmp_path, stop_at):
    with stop_at(28):
        train(seeds(3)[0], tmp_path / "3", digits)
    with pytest.raises(UserError, match=r"seeds: got \(3, 4\), allowed: \(3,\), which .*/3 has"):
        train_replicas(seeds(3, 4, resume=True), [tmp_path / "3", tmp_path / "4"], digits)
    assert train(seeds(3, resume=True)[0], tmp_path / "3", digits)["seed"] == 3


def test_what_is_refused(seeds, digits, tmp_path):
    two = seeds(0, 1)
    two[1].method.density = 0.3
    folders = [tmp_path / "0", tmp_path / "1"]
    with pytest.raises(ValueError, match="differ in the seed"):
        train_replicas(two, folders, digits)
    for config in (two := seeds(0, 1)):
        config.train.parallel = "pmap"
    with pytest.raises(UserError, match=r"train\.parallel"):
        train_replicas(two, folders, digits)
    for seed in (-1, 2**32):
        with pytest.raises(UserError, match="seed: got"):
            train_replicas(seeds(seed), folders[:1], digits)
    with pytest.raises(ValueError, match="zip"):
        train_replicas(seeds(0, 1), folders[:1], digits)
    assert not list(tmp_path.iterdir())
