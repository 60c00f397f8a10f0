"""Reading runs: finished, killed, torn, repeated, missing."""

import json
import os

import pytest

from gpnas._files import digest_of
from gpnas.errors import UserError
from gpnas.report import read_runs, summarise


def test_a_study_of_work_directories(study):
    loaded = read_runs([study])
    assert len(loaded.runs) == 17
    assert sum(run.finished for run in loaded.runs) == 15
    assert all(run.receptive is not None for run in loaded.runs if run.finished)


@pytest.mark.parametrize("up", [0, 1, 2])
def test_parents_are_searched(make, tmp_path, up):
    path = make.workdir(tmp_path / "a" / "b", make.record())
    for _ in range(up):
        path = path.parent
    assert len(read_runs([path]).runs) == 1


def test_too_deep_is_not_found(make, tmp_path):
    make.workdir(tmp_path / "a" / "b", make.record())
    with pytest.raises(UserError, match="at least one run"):
        read_runs([tmp_path])


def test_torn_last_line_is_left_out_and_reported(make, tmp_path):
    records = [make.record("gmp", seed) for seed in range(2)]
    path = make.records(tmp_path / "s" / "records.jsonl", records, '{"arm": "gm')
    loaded = read_runs([path])
    assert len(loaded.runs) == 2
    assert loaded.warnings == (
        "s/records.jsonl, line 3 (the last line, half-written): not a whole JSON object; left out.",
    )


def test_a_resumed_seed_belongs_to_its_arm(make, tmp_path):
    for seed, resume in enumerate((False, True)):
        record = make.record("gmp", seed)
        record["config"] |= {"resume": resume, "train": {"checkpoint_seconds": 15.0 + seed}}
        make.workdir(tmp_path / f"seed{seed}", record)
    (group,) = summarise(read_runs([tmp_path])).groups
    assert len(group.runs) == 2


def test_an_unfinished_run_of_two_inputs_counts_once(make, tmp_path):
    path = make.workdir(tmp_path / "s", make.record("gmp", 4), until=500)
    other = make.workdir(tmp_path / "t", make.record("gmp", 4), until=500)
    found = read_runs([path, path.parent, other]).runs
    assert [run.folder for run in found] == [path.resolve(), other.resolve()]


def test_a_killed_run_has_its_curve(make, tmp_path):
    path = make.workdir(tmp_path, make.record("gmp", 4), until=1700, torn=True)
    (run,) = read_runs([path]).runs
    assert not run.finished
    assert (run.arm, run.seed, run.last_step, run.total_steps) == ("gmp", 4, 1700, 4210)
    assert [row["step"] for row in run.validation] == [421, 842, 1263, 1684]


def test_killed_before_the_first_step(make, tmp_path):
    path = make.workdir(tmp_path, make.record("gmp", 4), until=1)
    (path / "metrics.jsonl").unlink()
    (run,) = read_runs([tmp_path]).runs
    assert run.last_step == 0
    assert run.arm == "gmp"


def test_a_resumed_run_shows_repeated_steps_once(make, tmp_path):
    path = make.workdir(tmp_path, make.record("gmp", 0), until=500)
    again = [row for row in make.metrics(make.record("gmp", 0), 800) if row["step"] > 300]
    with (path / "metrics.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in again))
    (run,) = read_runs([path]).runs
    steps = [row["step"] for row in run.train]
    assert steps == list(range(100, 900, 100))


def test_the_same_run_twice_counts_once(make, tmp_path):
    record = make.record("gmp", 0)
    directory = make.workdir(tmp_path / "runs", record)
    file = make.records(tmp_path / "results" / "records.jsonl", [record])
    loaded = read_runs([directory, file])
    (run,) = loaded.runs
    assert run.validation
    assert run.receptive is not None
    assert not loaded.warnings


def test_a_rerun_replaces_and_is_reported(make, tmp_path):
    records = [make.record("gmp", 0), make.record("gmp", 0, wall_s=99.0)]
    loaded = read_runs([make.records(tmp_path / "s" / "records.jsonl", records)])
    (run,) = loaded.runs
    assert run.record["wall_s"] == 99.0
    assert "two different records" in loaded.warnings[0]


def test_groups_differ_in_more_than_the_seed(make, tmp_path):
    records = [make.record("gmp", seed, final) for final in (0.1, 0.02) for seed in range(3)]
    loaded = read_runs([make.records(tmp_path / "s" / "records.jsonl", records)])
    groups = summarise(loaded).groups
    assert [group.label for group in groups] == ["gmp (density 0.1)", "gmp (density 0.02)"]
    assert [len(group.runs) for group in groups] == [3, 3]


def test_dense_first_then_by_error(study):
    labels = [group.label for group in summarise(read_runs([study])).groups]
    assert labels == ["dense", "development", "gmp", "pipeline", "rigl"]


def test_mixed_revisions_are_reported(make, tmp_path):
    records = [make.record("gmp", 0), make.record("gmp", 1, git="0000000")]
    loaded = read_runs([make.records(tmp_path / "s" / "records.jsonl", records)])
    assert any("2 git revisions" in warning for warning in summarise(loaded).warnings)


def test_a_damaged_receptive_field_is_left_out(make, tmp_path):
    path = make.workdir(tmp_path, make.record())
    (path / "receptive.npz").write_bytes(b"PK\x03\x04 no more")
    loaded = read_runs([path])
    assert loaded.runs[0].receptive is None
    assert "receptive.npz" in loaded.warnings[0]


@pytest.mark.parametrize("case", ["none", "missing", "empty", "binary", "other_json"])
def test_mistakes_are_one_line(tmp_path, case):
    inputs = {
        "none": [],
        "missing": [tmp_path / "nothing"],
        "empty": [tmp_path],
        "binary": [tmp_path / "x.jsonl"],
        "other_json": [tmp_path / "y.jsonl"],
    }[case]
    if case == "binary":
        inputs[0].write_bytes(bytes(range(256)))
    if case == "other_json":
        inputs[0].write_text('{"a": 1}\n[1]\n')
    with pytest.raises(UserError) as error:
        read_runs(inputs)
    assert "\n" not in str(error.value)


def test_a_record_whose_digest_does_not_fit_is_left_out(make, tmp_path):
    first, second = (make.record("gmp", seed) for seed in range(2))
    whole = first | {"digest": digest_of(first)}
    changed = second | {"digest": digest_of(second), "seed": 2}
    path = make.records(tmp_path / "s" / "records.jsonl", [whole, changed])
    loaded = read_runs([path])
    assert [run.record["seed"] for run in loaded.runs] == [0]
    assert loaded.warnings == ("s/records.jsonl, line 2: not a whole JSON object; left out.",)


def test_runs_on_other_splits_are_other_runs(make, tmp_path):
    records = [make.record("gmp", 0) for _ in range(2)]
    for seed, record in enumerate(records):
        record["config"]["data"] = {"seed": seed}
    loaded = read_runs([make.records(tmp_path / "s" / "records.jsonl", records)])
    assert len(loaded.runs) == 2 and not loaded.warnings


def test_names_of_folders_are_printable(make, tmp_path):
    folder = tmp_path / os.fsdecode(b"r\xff")
    make.workdir(folder, make.record("gmp", 0))
    (folder / "record.json").write_text("{")
    loaded = read_runs([folder])
    text = "".join([run.name for run in loaded.runs] + [run.arm for run in loaded.runs])
    assert "\ufffd" in text and loaded.warnings
    (text + "".join(loaded.warnings)).encode()
