"""Records of a sweep beside the settings that it has today."""

import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs import gmp
from experiments.studies.generations import check_equal, outdated
from experiments.studies.study import load, records
from gpnas.errors import UserError
from gpnas.records import read_lines
from gpnas.train import settings, study

RESULTS = Path(__file__).parents[3] / "results"


def a_study(**method):
    arm = gmp.get_config()
    arm.method.update(method)
    return study("s", {"GMP@1": arm, "GMP@2": gmp.get_config()}, densities=(0.1, 0.01))


def made_by(config):
    runs = [one for _, seeds in settings(config) for one in seeds]
    return [json.loads(json.dumps({"arm": one.arm, "config": one.to_dict()})) for one in runs]


def test_records_of_the_same_settings():
    found = made_by(a_study())
    del found[0]["config"]["train"]["profile"]  # came later, and has its default
    assert outdated(found, a_study()) == {}
    only_one = a_study()
    only_one.only, only_one.seeds = "GMP@2", (7,)
    assert outdated(found, only_one) == {}
    assert outdated([{"arm": "another", "config": {}}], a_study()) == {}


def test_an_arm_of_older_settings_is_named():
    old = [one for one in made_by(a_study(start_at=0.1)) if one["config"]["method"]["start_at"]]
    text = outdated(old, a_study())["GMP"]
    assert text.startswith(f"{len(old)} of {len(old)} records: method.start_at 0.1, now 0")


def test_two_generations_of_an_arm_are_refused(tmp_path):
    found = [*made_by(a_study())[:4], *made_by(a_study(start_at=0.1))[:3]]
    with pytest.raises(UserError, match=r"s, GMP, 3 of 7 records: method.start_at 0.1, now 0.*one"):
        outdated(found, a_study())
    path = tmp_path / "s" / "records.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(one) + "\n" for one in found))
    with pytest.raises(UserError, match="3 of 7"):
        records(tmp_path, a_study())
    with pytest.raises(UserError, match="one config per arm"):
        records(tmp_path, ConfigDict({"study": "s"}))  # no sweep


def test_two_older_generations_are_no_seeds_of_one_arm():
    found = [*made_by(a_study(start_at=0.1))[:2], *made_by(a_study(start_at=0.2))[:2]]
    with pytest.raises(UserError, match=r"4 of 4 records: method.start_at 0.1.*; method.start_at"):
        outdated(found, a_study())


def test_records_of_other_studies_have_one_config_per_arm(tmp_path):
    one = {"arm": "front", "config": {"seed": 0, "train": {"epochs": 8}, "retrain": True}}
    other = {"arm": "front", "config": {"seed": 1, "retrain": False, "elastic": True}}
    check_equal([one, other, {"arm": "dense", "config": {"elastic": False}}], "s")
    longer = {"arm": "front", "config": {"train": {"epochs": 16}}}
    (tmp_path / "s").mkdir()
    lines = "".join(json.dumps(record) + "\n" for record in (one, other, longer))
    (tmp_path / "s" / "records.jsonl").write_text(lines)
    with pytest.raises(UserError, match=r"records: got 's, front, train.epochs 8 and 16', .*one"):
        records(tmp_path, ConfigDict({"study": "s"}))


@pytest.mark.exhaustive
def test_committed_records_have_the_settings_of_their_study():
    """Otherwise a study trains its finished runs again."""
    old = {}
    for name, one in load().items():
        config = one.get_config()
        if "densities" in config:
            old[name] = outdated(read_lines(RESULTS / name / "records.jsonl"), config)
    assert not {name: texts for name, texts in old.items() if texts} and len(old) > 10
