"""The command line of searches: goes on, shares, and tells mistakes in one line."""

import json
import os
import pathlib
import re
import shutil

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "--config=configs/searches/nas_bench_201.py"
SAME, OTHER = (json.dumps({"arm": arm, "config": {"space": "x"}}) for arm in ("search", "other"))


@pytest.fixture
def run(python):
    """`(*flags, cwd) → finished process` of experiments/search.py."""

    def call(*arguments, cwd=ROOT):
        return python(ROOT / "experiments" / "search.py", *arguments, cwd=cwd)

    return call


@pytest.mark.slow
def test_a_search_on_a_table_of_the_users_own(run, tmp_path):
    table = tmp_path / "own.csv"
    rows = [f"{d},{w},{d * w},{10 / (d + w)}" for d in (1, 2, 3) for w in (1, 2, 3)]
    table.write_text("\n".join(["depth,width,cost,error", *rows]))
    mine = [CONFIG, f"--config.space=table:{table}", "--config.columns=2",
            "--config.strategy={'name': 'nsga2', 'population': 4}",
            "--config.objectives=('cost', 'error')", "--config.reports=()",
            f"--workdir={tmp_path / 'run'}"]  # fmt: skip
    done = run(*mine, "--config.evaluations=5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("5 evaluations")
    storage = f"sqlite:///{tmp_path}/run/search.db"
    assert run(f"--storage={storage}").stdout.startswith("5 evaluations")
    done = run(*mine, "--config.evaluations=9")
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert (record["arm"], record["name"]) == ("nsga2", "search")
    front = record["front"]
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert {tuple(trial["architecture"]) for trial in history} == {
        (str(d), str(w)) for d in (1, 2, 3) for w in (1, 2, 3)
    }
    assert done.stdout.startswith("9 evaluations") and len(front) > 1
    costs = [one["metrics"]["cost"] for one in front]
    errors = [one["metrics"]["error"] for one in front]
    assert costs == sorted(costs) and errors == sorted(errors, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.space=nas_bench_404"], "space: got 'nas_bench_404'"),
        (["--config.objectives=('accuracy',)"], "objectives: got 'accuracy', allowed: cifar10"),
        (["--config.evaluations=0"], "evaluations: got 0, allowed: a whole number, 1 or more"),
        (["--config.evaluations=15626"], "evaluations: got 15626, allowed: at most 15625"),
        (["--config.strategy={'name': 'luck'}"], "strategy.name: got 'luck', allowed: random"),
        (["--config.strategy={'name': 'local', 'p': 1}"], "strategy.p: got 1"),
        (["--config.strategy={'name': 'asha'}"], "strategy.budgets: got None"),
        (
            ["--config.objectives=('params', 'macs')"],
            "nsga2, lemonade and bulk_and_cut take several",
        ),
        (["--config.columns=2"], "columns: got 2, allowed: 0: the table nas_bench_201 has"),
        (["--results=r"], "results: got 'r', allowed: --workdir, of a search"),
        (["--storage=sqlite:////no/such/x.db"], "storage: got 'sqlite:////no/such/x.db'"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(run, tmp_path, arguments, message):
    done = run(CONFIG, f"--workdir={tmp_path / 'run'}", *arguments)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("run/*"))


@pytest.mark.slow
@pytest.mark.parametrize("storage", [(), ("--storage=sqlite:////no/such/x.db",)])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.jsonl", "", "workdir: got .*, allowed: a folder without a training run"),
        ("record.json", OTHER, "name: got 'search', allowed: 'other', of the search"),
        ("record.json", SAME, "columns: got 0, allowed: None, what the study began with"),
        ("record.json", '{"arm": "search"}', "workdir: got .*, allowed: a folder without a train"),
        ("record.json", "{", "workdir: got .*record.json"),
        ("history.json", "mine", "workdir: got .*a new folder, or that of a search"),
        ("drawings", "mine", "workdir: got .*a new folder, or that of a search"),
    ],
)
def test_a_folder_of_something_else_is_left_alone(run, tmp_path, storage, name, content, message):
    (tmp_path / name).write_text(content)
    done = run(CONFIG, f"--workdir={tmp_path}", *storage)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert re.match(message, done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == content


@pytest.mark.slow
def test_a_worker_writes_to_a_new_folder_and_to_none_of_something_else(run, tmp_path):
    begun = run(CONFIG, "--config.evaluations=3", f"--workdir={tmp_path / 'a%41 ?#'}")
    assert begun.returncode == 0, begun.stderr
    (database,) = tmp_path.glob("*/search.db")
    assert database.parent.name == "a%41 ?#"
    copy = shutil.copy(database, tmp_path / "search.db")
    worker = f"--storage=sqlite:///{copy}"
    for _ in range(2):
        done = run(worker, f"--workdir={tmp_path / 'new'}")
        assert done.returncode == 0 and (tmp_path / "new" / "history.json").exists(), done.stderr
    mine = tmp_path / "mine" / "record.json"
    mine.parent.mkdir()
    mine.write_text('{"arm": "search", "metrics": {}}')
    done = run(worker, f"--workdir={mine.parent}")
    assert done.returncode == 2 and done.stderr.startswith("workdir: got"), done.stderr
    assert json.loads(mine.read_text())["metrics"] == {} and [*mine.parent.iterdir()] == [mine]


@pytest.mark.slow
def test_a_worker_needs_a_storage(run):
    done = run()
    assert done.returncode == 2 and done.stderr.startswith(
        "config: got None, allowed: a search; or"
    )


@pytest.mark.slow
def test_a_worker_makes_no_database(run, tmp_path):
    done = run(f"--storage=sqlite:///{tmp_path}/none.db")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("storage: got") and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_architecture_outside_the_space_is_one_line(run, tmp_path, monkeypatch):
    strategy = (
        "from gpnas.search import Proposal\n\ndef outside(space, metric):\n"
        "    return lambda history, rng: Proposal(('conv7',) * 6)\n"
    )
    (tmp_path / "outside.py").write_text(strategy)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    chosen = "--config.strategy={'name': 'outside:outside'}"
    done = run(CONFIG, f"--workdir={tmp_path / 'run'}", chosen)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("architecture: got ('conv7',")


SLOW = """
import os, pathlib, signal, time
from gpnas.search.strategies import random

def slow(space):
    propose, calls = random(space), []

    def wait(history, rng):
        calls.append(0)
        if len(calls) == 4 and not pathlib.Path("stopped").exists():
            pathlib.Path("stopped").touch()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        return propose(history, rng)

    return wait
"""


def stopped_and_not(run, tmp_path, *arguments):
    """Runs a command that is stopped and the same again; and one that is not stopped."""
    folders = [tmp_path / name for name in ("once", "twice")]
    for folder in folders:
        folder.mkdir()
        (folder / "slow.py").write_text(SLOW)
    (folders[0] / "stopped").touch()
    done = [run(*arguments, cwd=folder) for folder in (folders[0], folders[1], folders[1])]
    assert [one.returncode for one in done] == [0, 75, 0], [one.stderr for one in done]
    assert done[1].stderr.splitlines()[-1] == "interrupted; the same command resumes"
    return folders


@pytest.mark.exhaustive
def test_a_search_that_is_stopped_goes_on(run, tmp_path):
    folders = stopped_and_not(
        run, tmp_path, f"--config={ROOT}/configs/searches/nas_bench_201.py", "--workdir=run",
        "--config.strategy={'name': 'slow:slow'}", "--config.evaluations=12",
    )  # fmt: skip
    told = [json.loads((folder / "run" / "history.json").read_text()) for folder in folders]
    told = [[(trial["architecture"], trial["metrics"]) for trial in history] for history in told]
    assert len(told[0]) == 12 and told[0] == told[1]


@pytest.mark.slow
def test_a_comparison_that_is_stopped_goes_on(run, tmp_path):
    (tmp_path / "config.py").write_text(
        "from configs.searches import nas_bench_201\n"
        "from gpnas.search.comparison import make_config\n\n"
        "def get_config():\n"
        "    config = nas_bench_201.get_config()\n"
        "    config.evaluations = 5\n"
        "    arms = {'a': {'strategy': {'name': 'slow:slow'}}}\n"
        "    return make_config(config, 'mine', arms, seeds=2)\n"
    )
    folders = stopped_and_not(run, tmp_path, f"--config={tmp_path}/config.py", "--results=runs")
    told = [
        [json.loads(line) for line in (folder / "runs/mine/records.jsonl").read_text().splitlines()]
        for folder in folders
    ]
    assert [[record["course"] for record in records] for records in told][0] == [
        record["course"] for record in told[1]
    ]
    assert [record["seed"] for record in told[1]] == [0, 1]


@pytest.mark.slow
def test_a_folder_of_the_other_kind_is_one_line(run, tmp_path):
    done = run(CONFIG, f"--workdir={tmp_path}/run", "--results=runs")
    assert done.returncode == 2
    assert done.stderr == "results: got 'runs', allowed: --workdir, of a search\n"
