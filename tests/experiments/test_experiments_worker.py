"""`gpnas worker`: takes part in searches and studies that other processes began."""

import pytest

from configs.searches import nas_bench_201
from gpnas.records import read_lines
from gpnas.search import storage, sweep
from gpnas.search.build import build_search
from tests.search.test_search_sweep import small, url


@pytest.fixture
def worker(python):
    """`(*flags) → finished process`."""
    return lambda *flags: python("-P", "-m", "gpnas", "worker", *flags)


@pytest.mark.slow
def test_it_trains_the_runs_of_a_study(worker, tmp_path):
    folders = tmp_path / "w", tmp_path / "r"
    sweep.queue_runs(url(tmp_path), small(seeds=(0,), epochs=1), *folders)
    flags = [f"--workdir={folders[0]}", f"--results={folders[1]}"]
    done = worker(f"--storage={url(tmp_path)}", *flags)
    assert done.returncode == 0, done.stderr
    path = folders[1] / "small" / "records.jsonl"
    assert done.stdout == f"{path}\n" and len(read_lines(path)) == 1


@pytest.mark.slow
def test_it_evaluates_the_architectures_of_a_search(worker, tmp_path):
    config = nas_bench_201.get_config()
    config.evaluations = 3
    plan = build_search(config.to_dict(), None)
    for name in ("mine", "other"):
        storage.open_study(url(tmp_path), name, plan.objectives, config.to_dict())
    done = worker(f"--storage={url(tmp_path)}")
    assert done.returncode == 2 and done.stderr == "name: got None, allowed: mine, other\n"
    done = worker(f"--storage={url(tmp_path)}", "--name=mine")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 evaluations")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "storage: got None, allowed: the database of a search or a study\n"),
        (("--storage=sqlite:////no/such/x.db",), "storage: got 'sqlite:////no/such/x.db'"),
        (("--storage=x", "--config=a.py"), "config: got 'a.py', allowed: none; sweep and search"),
    ],
)
def test_a_mistake_is_one_line(worker, flags, message):
    done = worker(*flags)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(message)
