"""Studies: what is missing is run, nothing is run twice."""

import concurrent.futures
import json

import pytest

from gpnas.errors import UserError
from gpnas.records import read_lines
from gpnas.train import Diverged, Stopped, _study, _together, run_study, settings


@pytest.fixture(scope="module")
def small(tiny):
    """`(**fields) → study`: static masks, two seeds, and the dense network."""

    def make(**fields):
        arms = {"static": tiny(name="static", density=0.5), "dense": tiny(name="dense")}
        for arm in arms.values():
            arm.train.epochs, arm.model.widths = 1, (16,)
        chosen = {"densities": (0.2,), "seeds": (0, 1), "replicas": "off"} | fields
        return _study.study("small", arms, **chosen)

    return make


@pytest.fixture(scope="module")
def runs(digits):
    """Names of the runs that a test trains, group by group."""
    groups, train = [], _study.train_replicas

    def watched(configs, folders, data, stopped):
        groups.append([folder.name for folder in folders])
        return train(configs, folders, data, stopped)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_study, "train_replicas", watched)
        patch.setattr(_study, "load_data", lambda config: digits)
        yield groups


@pytest.fixture(autouse=True)
def none_yet(runs):
    """Forgets what other tests trained."""
    runs.clear()


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def key(record):
    return record["arm"], record["config"]["method"].get("density"), record["seed"]


ALL = [["dense-seed0"], ["dense-seed1"], ["static-0.2-seed0"], ["static-0.2-seed1"]]


@pytest.fixture(scope="module")
def done(small, runs, tmp_path_factory):
    """`(study, workdir, results, path of the records)` of a study that has been run."""
    folder = tmp_path_factory.mktemp("study")
    path = run_study(small(), str(folder / "w"), str(folder / "r"))
    assert runs == ALL
    runs.clear()
    return small(), str(folder / "w"), str(folder / "r"), path


@pytest.mark.slow
def test_once(done, runs, monkeypatch):
    config, workdir, results, path = done
    config = config.copy_and_resolve_references()
    first = path.read_bytes()
    assert len({key(record) for record in records(path)}) == 4
    assert run_study(config, workdir, results) == path
    assert not runs
    assert path.read_bytes() == first

    # a line that is lost comes back from the run's folder, without training
    lines = first.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with monkeypatch.context() as patch:
        patch.setattr("gpnas.train._loop.make_program", None)
        run_study(config, workdir, results)
    assert runs == [["static-0.2-seed0"]]
    assert sorted(path.read_bytes().splitlines()) == sorted(first.splitlines())

    # so does one that a kill left torn
    path.write_bytes(first[:-40])
    run_study(config, workdir, results)
    assert runs[1:] == [["static-0.2-seed1"]]
    assert path.read_bytes().splitlines()[-1] == lines[-1].strip()
    assert len(read_lines(path)) == 4

    # a seed more is a run more
    config.seeds = (0, 1, 2)
    config.only = "dense"
    run_study(config, workdir + "2", results)
    assert runs[2:] == [["dense-seed2"]]


APPEND = """
import pathlib, sys, time
from gpnas.train import RunGroup, _study, base

config, (name, results, start) = base(), sys.argv[1:]
config.study = "small"

def trained(configs, folders, data, stopped):
    config = configs[0].to_dict()
    return [{"config": config, "by": name, "curve": list(range(10_000))}]  # 50 kB

_study.train_replicas = trained
pathlib.Path(f"{start}-{name}").touch()
while not all(pathlib.Path(f"{start}-{other}").exists() for other in "ab"):
    time.sleep(0.01)
for config.seed in range(10):
    _study.run_group(RunGroup("dense", [config], None), f"{results}/{name}", results, bool)
"""


@pytest.mark.slow
def test_two_processes_append_each_record_once(python, tmp_path):
    """They train the same runs in folders of their own, and end each at the same time."""
    (tmp_path / "append.py").write_text(APPEND)
    arguments = [(tmp_path / "append.py", name, tmp_path, tmp_path / "at") for name in "ab"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for done in pool.map(lambda own: python(*own), arguments):
            assert done.returncode == 0, done.stderr
    found = records(tmp_path / "small" / "records.jsonl")
    assert sorted(record["config"]["seed"] for record in found) == list(range(10))


@pytest.mark.slow
def test_interrupted_seeds_resume_as_they_began(small, runs, tmp_path, stop_at):
    config, where = small(replicas="on", densities=()), (tmp_path / "w", tmp_path / "r")
    config.only = "static"
    with stop_at(10):
        run_study(config, *where)
    assert runs == [["static-seed0", "static-seed1"]]
    begun = (tmp_path / "w/small/static-seed0/metrics.jsonl").read_bytes()
    config.seeds, config.replicas = (0, 1, 2), "off"  # one more, and each of the others alone
    path = run_study(config, *where)
    assert runs[1:] == [["static-seed0", "static-seed1"], ["static-seed2"]]
    assert (tmp_path / "w/small/static-seed0/metrics.jsonl").read_bytes().startswith(begun)
    assert [record["seed"] for record in records(path)] == [0, 1, 2]


@pytest.mark.slow
def test_whether_seeds_train_at_once_is_measured_once(small, runs, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config, path = small(replicas="auto"), tmp_path / "gpnas" / "replicas.jsonl"
    groups = _study.missing_groups(config, tmp_path / "w", tmp_path / "none")
    (measured,) = read_lines(path)  # both arms have the same network
    assert 0 < measured["one_ms"] < 1e4 and 0 < measured["together_ms"] < 1e4
    faster = measured["together_ms"] < 0.9 * 2 * measured["one_ms"]
    assert [len(group.configs) for group in groups] == (2 * [2] if faster else 4 * [1])

    times = iter([5.0, 3.0, 7.3, 2.0])  # of three seeds, of one; of four, of one
    monkeypatch.setattr(_together, "milliseconds", lambda *_: next(times))
    for config.seeds, together in (((0, 1, 2), True), ((0, 1, 2, 3), False), ((0, 1, 2), True)):
        groups = _study.missing_groups(config, tmp_path / "w", tmp_path / "none")
        assert {len(group.configs) for group in groups} == {len(config.seeds) if together else 1}
    assert len(read_lines(path)) == 3 and next(times, None) is None


@pytest.mark.parametrize("own", [{"patience": 1}, {"parallel": "pmap"}])
def test_seeds_that_must_train_alone(own, small, runs, tmp_path):
    config = small(replicas="on", densities=())
    config.arms.dense.train.update(own)
    groups = _study.missing_groups(config, tmp_path / "w", tmp_path / "none")
    found = [(group.name, len(group.configs)) for group in groups]
    assert found == [("dense", 1), ("dense", 1), ("static", 2)]


@pytest.mark.exhaustive
def test_replicas_make_the_same_records(done, small, runs, tmp_path):
    config = small(replicas="on")
    path = run_study(config, str(tmp_path / "w2"), str(tmp_path / "r2"))
    assert runs == [ALL[0] + ALL[1], ALL[2] + ALL[3]]
    alone, together = ({key(r): r for r in read_lines(p)} for p in (done[3], path))
    assert len(together) == 4
    for name in together:
        record = alone[name]
        assert together[name]["config"] == record["config"]
        assert together[name]["cost"] == record["cost"]
        assert (
            abs(together[name]["metrics"]["val_error_last"] - record["metrics"]["val_error_last"])
            < 3
        )


@pytest.mark.slow
def test_killed_and_started_again(small, runs, tmp_path, stop_at, digits):
    config = small(seeds=(0,))
    config.only = "dense"
    for arm in config.arms.values():
        arm.train.epochs = 2
    with stop_at(20):
        run_study(config, str(tmp_path / "w"), str(tmp_path / "r"))
    assert not (tmp_path / "r").exists()
    lines = (tmp_path / "w/small/dense-seed0/metrics.jsonl").read_text()
    path = run_study(config, str(tmp_path / "w"), str(tmp_path / "r"))
    assert (tmp_path / "w/small/dense-seed0/metrics.jsonl").read_text().startswith(lines)
    assert [key(record) for record in records(path)] == [("dense", None, 0)]


@pytest.mark.slow
def test_one_that_diverges_does_not_stop_the_others(small, runs, tmp_path):
    config = small(seeds=(0,))
    config.arms.static.optimizer.learning_rate = 1e30
    with pytest.raises(Diverged, match="^static-0.2-seed0: the train loss is"):
        run_study(config, str(tmp_path / "w"), str(tmp_path / "r"))
    assert [r["arm"] for r in records(tmp_path / "r/small/records.jsonl")] == ["dense"]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("only", {"only": "dense,desne"}),
        ("seeds", {"seeds": ()}),
        ("seeds", {"seeds": (1, 1)}),
        ("seeds", {"seeds": ()}),
        ("method.density", {"densities": (0.2, 1.5)}),
        ("replicas", {"replicas": "maybe"}),
        ("optimizer.name", {"arms.dense.optimizer.name": "sdg"}),
        ("train.epochs", {"arms.dense.train.epochs": 0}),
        ("arms.dense.seed", {"arms.dense.seed": 3}),
        ("arms.static.arm", {"arms.static.arm": "mine"}),
        ("elastic", {"arms.dense.elastic": True}),
    ],
)
def test_what_is_refused_before_anything_runs(field, change, small, runs, tmp_path):
    config = small()
    config.update_from_flattened_dict(change)
    with pytest.raises(UserError) as caught:
        run_study(config, str(tmp_path / "w"), str(tmp_path / "r"))
    assert caught.value.field == field
    assert not runs
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("names", [("a/../b",), ("a b", "a-b")])
def test_each_arm_has_a_folder_of_its_own_in_the_study(names, small, tiny):
    config = small()
    for name in names:
        config.arms[name] = tiny(name="dense")
    with pytest.raises(UserError, match="^arms: got .*, allowed: a name "):
        list(settings(config))


def test_results_that_cannot_be_written_are_refused_before_anything_runs(small, runs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="^results: got .*a folder that can be written"):
        run_study(small(), tmp_path / "w", tmp_path / "file", lambda: False)
    assert not runs and not (tmp_path / "w").exists()


def test_a_foreign_run_in_any_folder_is_refused_before_anything_runs(small, runs, tmp_path):
    other = tmp_path / "w" / "small" / "static-0.2-seed1"
    other.mkdir(parents=True)
    (other / "record.json").write_text("{}")
    with pytest.raises(UserError, match=f"^workdir: got '{other}/record.json'"):
        run_study(small(), tmp_path / "w", tmp_path / "r", lambda: False)
    assert not runs and {path.name for path in tmp_path.rglob("*")} == {
        "w", "small", "static-0.2-seed1", "record.json"
    }  # fmt: skip


def test_an_arm_keeps_its_own_optimizer(small):
    config = small()
    config.arms.dense.optimizer.name = "adam"
    with config.unlocked():
        config.arms.dense.optimizer.arguments = {}
    (_, seeds), *_ = (pair for pair in settings(config) if pair[0] == "dense")
    assert seeds[0].optimizer.arguments.to_dict() == {}
    assert [one.seed for one in seeds] == [0, 1]
    assert all(one.resume and one.study == "small" and one.arm == "dense" for one in seeds)


def test_pmap_runs_one_by_one(small, runs, monkeypatch, tmp_path):
    config = small(replicas="on")
    config.only = "static"
    config.arms.static.train.parallel = "pmap"

    def stop(*args):
        raise Stopped

    monkeypatch.setattr("gpnas.train._loop.make_program", stop)
    with pytest.raises(Stopped):
        run_study(config, str(tmp_path / "w"), str(tmp_path / "r"))
    assert runs == ALL[2:3]


def test_settings_of_one_arm(tiny):
    arms = {"l0@1": tiny(name="static"), "l0@2": tiny(name="static"), "dense": tiny(name="dense")}
    config = _study.study("prices", arms, densities=(), seeds=(0,))
    config.only = "l0"
    found = list(settings(config))
    assert [name for name, _ in found] == ["l0@1", "l0@2"]
    assert {one.arm for _, seeds in found for one in seeds} == {"l0"}


@pytest.mark.slow
def test_a_request_in_the_last_steps_of_a_run_ends_the_study_after_it(small, runs, tmp_path):
    """The run is finished and recorded; nothing more is begun."""
    config = small()
    config.only = "dense"
    with pytest.raises(Stopped, match="before seed 1 of dense"):
        run_study(
            config, str(tmp_path / "w"), str(tmp_path / "r"),
            lambda: any(tmp_path.glob("w/small/*/record.json")),
        )  # fmt: skip
    assert runs == ALL[:1]
    assert [key(r) for r in records(tmp_path / "r/small/records.jsonl")] == [("dense", None, 0)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:coroutine", "ignore:Exception ignored")  # Orbax, TensorStore
def test_a_full_disk_and_the_same_command_again(small, runs, tmp_path, no_room):
    config = small(seeds=(0,))
    config.only = "static"
    whole = records(run_study(config, tmp_path / "a", tmp_path / "b"))
    with no_room(3000), pytest.raises(OSError, match="File too large: '.*checkpoints'"):
        run_study(config, tmp_path / "c", tmp_path / "d")
    again = records(run_study(config, tmp_path / "c", tmp_path / "d"))
    for one, other in zip(again, whole, strict=True):
        assert key(one) == key(other) and one["metrics"] == other["metrics"]
        assert one["layers"] == other["layers"] and one["evaluations"] == other["evaluations"]


@pytest.mark.parametrize("line", ['{"a": 1}', '{"config": 7}'])
def test_lines_that_are_no_records_are_refused(line, small, runs, tmp_path):
    path = tmp_path / "r" / "small" / "records.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(f"{line}\n")
    with pytest.raises(UserError, match="^results: got .*records of a study"):
        run_study(small(), tmp_path / "w", tmp_path / "r", lambda: False)
    assert not runs and path.read_text() == f"{line}\n"
