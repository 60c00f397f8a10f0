"""A run's folder: only what the run wrote is touched, and only that is believed."""

import dataclasses
import json
import random
import shutil

import pytest

from gpnas.errors import UserError
from gpnas.records import sealed
from gpnas.train import _checkpoint, load_run, train, train_replicas
from gpnas.train._workdir import Written, check_workdir, read_about, read_written

FLIPS = 60


@pytest.fixture
def short(tiny):
    """`(**fields) → config`: 40 steps, a checkpoint at 20 and at 40."""

    def make(**fields):
        config = tiny(name="gmp", density=0.2, every=5)
        config.train.epochs = 2
        config.update_from_flattened_dict(fields)
        return config

    return make


@pytest.fixture(scope="module")
def finished(tiny, digits, tmp_path_factory):
    """`(folder, record)` of such a run that has ended; not to be changed."""
    config = tiny(name="gmp", density=0.2, every=5)
    config.train.epochs = 2
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, train(config, folder, digits)


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the folder."""
    return shutil.copytree(finished[0], tmp_path / "run")


def content(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def flips(path):
    """The file with one bit changed, again and again."""
    raw, rng = path.read_bytes(), random.Random(path.name)
    for _ in range(FLIPS):
        at = rng.randrange(8 * len(raw))
        damaged = bytearray(raw)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(bytes(damaged))
        yield
    path.write_bytes(raw)


# What is not ours


@pytest.mark.slow
def test_what_others_put_beside_checkpoints_stays(short, digits, tmp_path):
    mine = {"checkpoints/best.pt": "m", "checkpoints/old/a.txt": "a", "checkpoints.txt": "c",
            "checkpoints/20.digest.json.bak": "b", "checkpoints-best/w.pt": "w"}  # fmt: skip
    for name, text in mine.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    train(short(), tmp_path, digits)
    assert {name: (tmp_path / name).read_text() for name in mine} == mine
    assert _checkpoint.steps(tmp_path / "checkpoints") == [20, 40]


def _link(folder):
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "20").mkdir()
    (folder.parent / "elsewhere" / "20" / "best.pt").write_text("m")
    (folder / "checkpoints").symlink_to(folder.parent / "elsewhere")


def _step(folder):
    (folder / "checkpoints" / "7").mkdir(parents=True)
    (folder / "checkpoints" / "7" / "best.pt").write_text("m")


def _step_link(folder):
    _link(folder)
    (folder / "checkpoints").unlink()
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "20").symlink_to(folder.parent / "elsewhere" / "20")


@pytest.mark.slow
@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    "put",
    [
        _link, _step, _step_link,
        lambda folder: (folder / "checkpoints").write_text("m"),
        lambda folder: (folder / "metrics.jsonl").write_text('{"loss": 1}\n'),
        lambda folder: (folder / "record.json").write_text('{"config": {}}'),
        lambda folder: (folder / "record.json").mkdir(),
        lambda folder: (folder / "config.json").write_text('{"hidden_size": 8}'),
        lambda folder: (folder / "receptive.npz").write_text("mine"),
        lambda folder: (folder / "tensorboard").write_text("mine"),
        lambda folder: (folder / "metrics.jsonl").symlink_to("elsewhere"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_refused(put, resume, short, digits, tmp_path):
    (tmp_path / "run").mkdir()
    put(tmp_path / "run")
    before = content(tmp_path)
    with pytest.raises(UserError):
        train(short(resume=resume), tmp_path / "run", digits)
    (tmp_path / "run" / ".lock").unlink(missing_ok=True)
    assert content(tmp_path) == before


# What is another run's


@pytest.mark.slow
@pytest.mark.parametrize("resume", [False, True])
def test_a_checkpoint_of_another_config_is_never_read(resume, short, digits, run):
    for name in ("config.json", "record.json"):
        (run / name).unlink()
    before = content(run)
    other = short(seed=1, resume=resume)
    with pytest.raises(UserError, match="seed: got 1, allowed: 0" if resume else "without a run"):
        train(other, run, digits)
    assert content(run) == before


def test_a_checkpoint_of_other_images_is_never_read(short, digits, run):
    for name in ("config.json", "record.json"):
        (run / name).unlink()
    with pytest.raises(UserError, match="dataset_sha256: got 'other'"):
        train(short(resume=True), run, dataclasses.replace(digits, sha256="other"))


def test_a_record_of_another_run_is_not_this_ones(short, digits, run, finished):
    record = read_about(run / "record.json")
    record["config"]["optimizer"]["learning_rate"] = 0.2
    del record["digest"]
    (run / "record.json").write_text(json.dumps(sealed(record)))
    with pytest.raises(UserError, match="optimizer.learning_rate"):
        train(short(resume=True), run, digits)


def test_checkpoints_that_do_not_say_whose_they_are(short, digits, run):
    (run / "record.json").unlink()
    for path in (run / "checkpoints").glob("*.digest.json"):
        known = json.loads(path.read_text())
        del known["digest"], known["about"]
        path.write_text(json.dumps(sealed(known)))
    with pytest.raises(UserError, match=r"resume: got .*checkpoints.* of this run"):
        train(short(resume=True), run, digits)


# What is damaged


@pytest.mark.parametrize("name", ["config.json", "record.json"])
def test_a_flipped_bit_is_one_line_or_changes_nothing(name, short, digits, run):
    whole = read_about(run / name)
    refused = 0
    for _ in flips(run / name):
        try:
            found = read_about(run / name)
        except UserError as error:
            refused += 1
            assert name in str(error) and "\n" not in str(error)
            with pytest.raises(UserError):
                check_workdir(run, short(resume=True), digits)
        else:  # in the name of the field "digest", or between the fields
            shared = whole.keys() & found.keys()
            assert whole.keys() - shared <= {"digest"}
            assert all(found[field] == whole[field] for field in shared)
    assert refused > FLIPS * 0.9


def test_a_flipped_bit_in_the_metrics_is_noticed(run):
    path = run / "metrics.jsonl"
    written = Written()
    for line in path.read_bytes().splitlines(keepends=True):
        written = written.then(line)
    assert len(read_written(path, written)) == written.lines == 9
    for _ in flips(path):
        assert read_written(path, written) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config.json", "record.json"])
def test_without_the_damaged_file_the_checkpoint_mends_it(name, short, digits, run, finished):
    whole = read_about(run / name)
    (run / name).write_text("{")
    with pytest.raises(UserError, match=f"workdir: got .*{name}"):
        train(short(resume=True), run, digits)
    (run / name).unlink()
    (run / "record.json").unlink(missing_ok=True)
    record = train(short(resume=True), run, digits)
    for field in ("metrics", "cost", "curve", "evaluations", "layers", "wall_s"):
        assert record[field] == finished[1][field]
    assert read_about(run / name)["config"] == whole["config"] | {"resume": True}


@pytest.mark.slow
def test_a_lost_line_is_trained_again(short, digits, run, finished, caplog):
    """The newest checkpoint does not fit, the one before it does."""
    path = run / "metrics.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    (run / "record.json").unlink()
    record = train(short(resume=True), run, digits)
    assert "checkpoint 40 does not fit" in caplog.text
    for field in ("metrics", "cost", "curve", "evaluations", "layers"):
        assert record[field] == finished[1][field]


@pytest.mark.slow
@pytest.mark.parametrize("line", [0, 3])
def test_a_changed_number_is_never_believed(line, short, digits, run):
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    lines[line] = lines[line].replace('"loss": ', '"loss": 1', 1)
    path.write_text("".join(lines))
    (run / "record.json").unlink()
    before = content(run)
    with pytest.raises(UserError, match=r"resume: got .*checkpoints"):
        train(short(resume=True), run, digits)
    assert content(run) == before


@pytest.mark.slow
def test_metrics_that_change_while_a_run_goes_on(short, digits, tmp_path, monkeypatch):
    save = _checkpoint.save

    def meddle(folder, step, *rest):
        save(folder, step, *rest)
        if step == 40:
            path = tmp_path / "metrics.jsonl"
            path.write_bytes(path.read_bytes().replace(b'"loss": ', b'"loss": 1', 1))

    monkeypatch.setattr(_checkpoint, "save", meddle)
    with pytest.raises(UserError, match=r"metrics.jsonl.*the 9 lines that the run wrote"):
        train(short(), tmp_path, digits)
    assert not (tmp_path / "record.json").exists()


@pytest.mark.parametrize(
    "change", [{"config": []}, {"config": {"method": 3}}, {"seed": "0"}, {"total_steps": None},
               {"metrics": 1}, {"config": {"method": {"name": "gmp"}}}],
)  # fmt: skip
def test_a_record_of_another_shape_is_one_line(change, run):
    record = read_about(run / "record.json")
    del record["digest"]
    (run / "record.json").write_text(json.dumps(record | change))
    with pytest.raises(UserError, match="workdir: got .*record.json"):
        load_run(run)


# Which checkpoint is the run's


@pytest.mark.slow
def test_the_record_says_which_checkpoint_is_its_own(short, digits, tmp_path, stop_at, finished):
    """Another folder of the seed's checkpoints lies beside it."""
    with stop_at(20):
        train(short(), tmp_path, digits)
    shutil.copytree(tmp_path / "checkpoints", tmp_path / "checkpoints-0")  # the older ones
    record = train(short(resume=True), tmp_path, digits)
    assert record["metrics"] == finished[1]["metrics"]
    assert record["checkpoints"] == "checkpoints"
    for name in ("{}", "{}.digest.json"):
        (tmp_path / "checkpoints-0" / name.format(20)).rename(
            tmp_path / "checkpoints-0" / name.format(40)
        )
    assert load_run(tmp_path).record == json.loads(json.dumps(record))


@pytest.mark.exhaustive
def test_every_replica_finds_its_checkpoint(short, digits, tmp_path):
    folders = [tmp_path / "0", tmp_path / "1"]
    records = train_replicas([short(), short(seed=1)], folders, digits)
    assert [r["checkpoints"] for r in records] == ["checkpoints-0-1", "../0/checkpoints-0-1"]
    for seed, folder in enumerate(folders):
        assert load_run(folder).config.seed == seed
