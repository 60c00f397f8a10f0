"""The study of weight sharing: it goes on from its records, and its mistakes are one clear line."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments.studies.sharing import config as sharing
from experiments.studies.sharing import methods as sharing_methods
from experiments.studies.sharing import run as sharing_study
from experiments.studies.sharing.darts import Mixture
from experiments.studies.sharing.run import share
from gpnas.errors import UserError
from gpnas.records import read_lines
from gpnas.search import TooManyFailures

pytestmark = pytest.mark.usefixtures("one_stage")
FEW = {"channels": 4, "steps": 4, "final_steps": 2, "budget": 40, "candidates": 6,
       "finalists": 2, "minibatches": 2, "batch": 16, "reduction": 2,
       "seeds": 1, "learning_rate": 0.05}  # fmt: skip


def small(**changes):
    config = sharing.get_config()
    config.data.update({"name": "digits", "image_size": 0, "validation": 0.1})
    config.update(FEW | changes)
    return config


def told(path):
    """Records without times."""
    return [
        {k: v for k, v in r.items() if k not in ("wall_s", "date", "git")} for r in read_lines(path)
    ]


@pytest.mark.exhaustive
def test_a_study_that_was_stopped_goes_on(tmp_path, monkeypatch):
    methods = ("random", "weight sharing", "ASHA")
    path = share(small(methods=methods), str(tmp_path / "whole"))
    whole = told(path)
    parts = [(r["part"], r["arm"]) for r in whole]
    assert [part for part, _ in parts].count("alone") == 40 and len(set(parts)) == len(parts) == 43
    json.loads(path.read_text().splitlines()[0], parse_constant=pytest.fail)

    class Killed(Exception):
        pass

    lines = []

    def append(path, record, write=sharing_study.append_line):
        if len(lines) == 41:
            raise Killed
        lines.append(record)
        write(path, record)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(sharing_study, "append_line", append)
        share(small(methods=methods), str(tmp_path / "cut"))
    path = share(small(methods=methods), str(tmp_path / "cut"))
    assert told(path) == whole
    share(small(methods=methods), str(tmp_path / "cut"))
    assert told(path) == whole
    for _ in range(2):  # a second seed is one unit more, once
        share(small(methods=("random",), seeds=2), str(tmp_path / "cut"))
    assert [r["seed"] for r in told(path)[43:]] == [1]

    found = {r["arm"]: r for r in whole if r["part"] == "method"}
    alone = [r["errors"]["val_error"] for r in whole if r["part"] == "alone"]
    rank = found["weight sharing"]["rank"]
    expected = stats.kendalltau(rank["shared"], alone).statistic
    assert rank["alone"] == alone and rank["tau"] == pytest.approx(expected, abs=1e-4)
    for arm in methods:
        assert 0 < found[arm]["cost"]["steps"] <= 40 and found[arm]["cost"]["macs"] > 0
    assert found["random"]["errors"]["search_error"] == min(alone[: found["random"]["candidates"]])
    assert found["weight sharing"]["candidates"] == 6


@pytest.mark.exhaustive
def test_darts_spends_the_budget_on_all_operations(tmp_path, monkeypatch):
    def learnt(supernet, shared, seen, held, turns, *rest):
        assert turns == 4  # of two steps each
        return Mixture(shared.init(jax.random.key(0)), jnp.eye(6, 5), ())

    monkeypatch.setattr(sharing_methods, "first_order", learnt)
    config = small(methods=("DARTS",), budget=9)
    record = told(share(config, str(tmp_path)))[-1]
    assert record["cost"]["steps"] == 8 and "none" not in record["architecture"]
    once = 3 * 8 * 16 * record["final_macs"]
    assert record["cost"]["macs"] > once and np.isfinite(record["errors"]["test_error"])


@pytest.mark.slow
def test_a_search_that_fails_is_named_and_no_record_is_read_again(tmp_path, monkeypatch):
    def diverge(*args):
        raise FloatingPointError("weights are not finite")

    def read(path, times=[], original=sharing_study.read_lines):  # noqa: B006
        times.append(path)
        assert len(times) == 1
        return original(path)

    monkeypatch.setattr(sharing_study, "error_alone", lambda *args: 0.5)
    monkeypatch.setattr(sharing_methods, "error_alone", diverge)
    monkeypatch.setattr(sharing_study, "read_lines", read)
    with pytest.raises(TooManyFailures, match=r"^ASHA, seed 0: .*weights are not finite") as raised:
        share(small(methods=("ASHA",), budget=4000), str(tmp_path))
    assert "\n" not in str(raised.value)
    assert len(told(tmp_path / "sharing" / "records.jsonl")) == 40


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value"),
    [("architectures", 39), ("methods", ("magic",)), ("learning_rate", 0.0), ("finalists", 7),
     ("batch", 1), ("budget", 4), ("minibatches", 99), ("batch", 200), ("steps", 3)],
)  # fmt: skip
def test_settings_that_cannot_be(tmp_path, field, value):
    with pytest.raises(UserError, match=f"{field}: got"):
        share(small(**{field: value}), str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
