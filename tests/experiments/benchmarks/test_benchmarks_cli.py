"""The command line: a line a measurement, a mistake in one line."""

import json

import pytest


@pytest.fixture
def run(python):
    """`(*flags) → finished process` of experiments/benchmark.py."""
    return lambda *flags: python("experiments/benchmark.py", *flags)


@pytest.mark.slow
def test_a_measurement_is_printed_and_appended(run, tmp_path):
    output = tmp_path / "new" / "lines.jsonl"
    for _ in range(2):
        done = run("--only=top_k_ratio_10m", "--fast", f"--output={output}")
        assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert list(line)[:6] == ["name", "value", "unit", "target", "holds", "date"]
    assert line["name"] == "top_k_ratio_10m" and line["fast"] is True
    assert line["machine"]["cores"] > 0 and set(line) > {"git", "versions", "machine", "details"}
    assert [json.loads(x)["name"] for x in output.read_text().splitlines()] == [line["name"]] * 2


@pytest.mark.slow
def test_mistakes_are_one_line_and_exit_2(run, tmp_path):
    for arguments in (
        ["--only=speed"],
        ["--only=fashion_2pct", f"--results={tmp_path}"],
        ["--only=compilations", f"--output={__file__}/lines.jsonl"],
    ):
        done = run("--fast", f"--output={tmp_path / 'lines.jsonl'}", *arguments)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1 and not done.stdout
    assert not (tmp_path / "lines.jsonl").exists()
