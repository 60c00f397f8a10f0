"""The command line of a run, as a user calls it, from the repository's root."""

import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from gpnas import commandline
from gpnas.errors import UserError

ROOT = Path(__file__).parents[2]
SMALL = (
    "--config.data.name=digits", "--config.train.epochs=2", "--config.train.batch_size=64",
    "--config.train.checkpoint_seconds=0", "--config.train.log_every=7",
)  # fmt: skip


@pytest.fixture
def train(python):
    """`(config, *flags) → finished process` of experiments/train.py."""

    def call(config, *arguments):
        return python("experiments/train.py", f"--config=configs/{config}.py", *SMALL, *arguments)

    return call


def one_line(done, code):
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    return done.stderr


@pytest.mark.slow
def test_a_run(train, tmp_path):
    done = train("set", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("set: test error ")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["set:", "Masks"]
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr
    assert [line.split()[:2] for line in done.stderr.splitlines()] == [
        ["set", "0/40"], ["set", "20/40"], ["set", "40/40"],
    ]  # fmt: skip
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        ".lock", "checkpoints", "config.json", "metrics.jsonl", "mistakes.npz",
        "receptive.npz", "record.json", "tensorboard",
    }  # fmt: skip


@pytest.mark.slow
def test_no_hint_at_an_export_of_a_table(train, tmp_path):
    rows = "".join(f"{i},{i % 7},{i / 3}\n" for i in range(80))
    (tmp_path / "t.csv").write_text(f"a,b,y\n{rows}")
    done = train(
        "set", f"--workdir={tmp_path / 'run'}", f"--config.data.name=csv:{tmp_path}/t.csv",
        "--config.task.name=regression", f"--config.data.cache_dir={tmp_path}/cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("set: test rmse ") and "export" not in done.stdout


@pytest.mark.slow
def test_an_empty_workdir_is_not_the_current_folder(train):
    assert "workdir: got ''" in one_line(train("dense", "--workdir="), 2)


@pytest.mark.slow
def test_a_loss_that_is_not_finite(train, tmp_path):
    done = train("dense", "--config.optimizer.learning_rate=1e30", f"--workdir={tmp_path / 'run'}")
    forecast, reason = done.stderr.splitlines()
    assert done.returncode == 3 and forecast.startswith("dense 0/")
    assert reason.startswith("the train loss is")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "wrong", "said"),
    [
        (
            "dense",
            "--config.foo=3",
            "config.foo: got '3', allowed: one of the fields analysis, arm, data,",
        ),
        (
            "lenet5",
            "--config.seed=1",
            "model.name: got 'lenet5', allowed: a network for images of 8 × 8",
        ),
        ("gmp", "--config.method.density=-0.1", "method.density: got -0.1, allowed: a number in"),
    ],
)
def test_mistakes(config, wrong, said, train, tmp_path):
    done = train(config, wrong, f"--workdir={tmp_path / 'run'}")
    assert one_line(done, 2).startswith(said)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def parse(monkeypatch):
    """`(*arguments) → config`, in this process."""

    def call(*arguments):
        own, argv = flags.FlagValues(), ["train.py", *arguments]
        monkeypatch.setattr(flags, "FLAGS", own)
        monkeypatch.setattr(sys, "argv", argv)
        config = config_flags.DEFINE_config_file("config", None, flag_values=own, sys_argv=argv)
        workdir = flags.DEFINE_string("workdir", None, "", flag_values=own)
        flags.mark_flags_as_required(["config", "workdir"], flag_values=own)
        left = commandline.parse(argv)
        commandline.no_arguments(left)
        assert workdir.value
        return config.value

    return call


CONFIG, WORKDIR = f"--config={ROOT}/configs/development.py", "--workdir=w"


def test_overrides(parse):
    config = parse(
        CONFIG, WORKDIR, "--config.seed", "3", "--config.method.density=0.5", "--config.resume",
        "--noconfig.train.tensorboard", "--config.optimizer.arguments={}",
        "--config.optimizer.name=adam", "--config.method.name=mine:own",
    )  # fmt: skip
    assert (config.seed, config.method.density, config.resume) == (3, 0.5, True)
    assert not config.train.tensorboard
    assert config.optimizer.arguments.to_dict() == {}
    assert config.method.name == "mine:own"


def test_fields_that_a_config_does_not_list(parse):
    config = parse(
        CONFIG, WORKDIR, "--config.model.name=lenet5", "--config.model.widths=(5, 12, 125)",
        "--config.method.name=gmp", "--config.method.start_at", "0.1",
        "--config.optimizer.name=adam", "--config.optimizer.arguments.b1=0.8",
        "--config.optimizer.arguments.nesterov",
    )  # fmt: skip
    assert config.model.widths == (5, 12, 125) and config.method.start_at == 0.1
    assert config.optimizer.arguments.to_dict() == {"b1": 0.8, "nesterov": True}
    assert "widths" not in parse(CONFIG, WORKDIR).model


def test_a_second_command_line_of_one_process_is_read_as_the_first(parse, monkeypatch):
    calls, complete = [], commandline.overrides.complete

    def counted(*args):
        calls.append(args)
        return complete(*args)

    parse(CONFIG, WORKDIR)
    monkeypatch.setattr(commandline.overrides, "complete", counted)
    for number in range(3):
        commandline.parse(sys.argv)
        assert len(calls) == number + 1


@pytest.mark.parametrize("value", [7, "2%", "auto"])
@pytest.mark.parametrize("name", ["gmp", "development_units"])
def test_durations_are_steps_or_texts(parse, name, value):
    arguments = (f"--config.method.name={name}", f"--config.method.every={value}")
    assert parse(CONFIG, WORKDIR, *arguments).method.every == value
    own = f"--config={ROOT}/configs/{name}.py"
    assert parse(own, WORKDIR, arguments[1]).method.every == value


def test_fields_of_ones_own_task_and_optimizer_and_the_mapping_of_names(parse, tmp_path):
    (tmp_path / "gpnas_own_fields.py").write_text(
        "import optax\n"
        "from gpnas.models import Model\n"
        "from gpnas.train import Task\n"
        "def focal(model: Model, gamma: float = 2.0) -> Task: ...\n"
        "def slow(learning_rate, factor: float = 0.5) -> optax.GradientTransformation: ...\n"
        "def plain(learning_rate) -> optax.GradientTransformation: ...\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        config = parse(
            CONFIG, WORKDIR, "--config.task.name=gpnas_own_fields:focal", "--config.task.gamma=1",
            "--config.optimizer.name=gpnas_own_fields:slow", "--config.optimizer.ema=0.9",
            "--config.optimizer.arguments.factor=0.25",
            "--config.train.init_names={'Dense_0': 'encoder/first', 'Dense_2': ''}",
        )  # fmt: skip
        plain = parse(CONFIG, WORKDIR, "--config.optimizer.name=gpnas_own_fields:plain")
    assert plain.optimizer.arguments.to_dict() == {}  # without momentum
    assert config.task.gamma == 1.0 and config.optimizer.ema == 0.9
    assert config.optimizer.arguments.to_dict() == {"factor": 0.25}
    assert config.train.init_names.to_dict() == {"Dense_0": "encoder/first", "Dense_2": ""}


def test_fields_of_an_arm(parse, tmp_path):
    (tmp_path / "study.py").write_text(
        "from configs import dense, gmp\n"
        "from gpnas.train._study import study\n"
        "def get_config():\n"
        "    return study('s', {'gmp': gmp.get_config(), 'dense': dense.get_config()})\n"
    )
    study = f"--config={tmp_path / 'study.py'}"
    arms = parse(
        study, WORKDIR, "--config.arms.gmp.method.every=2%", "--config.arms.gmp.model.widths=(8,)",
        "--config.arms.gmp.optimizer.name=adam", "--config.arms.gmp.optimizer.arguments.b1=0.8",
        "--config.arms.dense.method.name=rigl", "--config.arms.dense.method.density=0.1",
    ).arms  # fmt: skip
    assert arms.gmp.method.every == "2%" and arms.gmp.model.widths == (8,)
    assert arms.gmp.optimizer.arguments.to_dict() == {"b1": 0.8}
    assert arms.dense.method.density == 0.1 and "widths" not in arms.dense.model
    with pytest.raises(UserError, match=r"config\.arms\.gmp\.model\.depth: .*widths"):
        parse(study, WORKDIR, "--config.arms.gmp.model.depth=3")


def test_fields_of_ones_own_network_and_types_of_more_than_one_kind(parse, tmp_path, monkeypatch):
    (tmp_path / "gpnas_flag_nets.py").write_text(
        "import flax.linen as nn\n"
        "from gpnas.methods import Method\n"
        "class Net(nn.Module):\n"
        "    depth: int\n"
        "    rate: float = 0.5\n"
        "    norm: bool = True\n"
        "    kind: str | None = None\n"
        "def method(*, every: int | str = 'auto') -> Method:\n"
        "    raise NotImplementedError\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    names = (
        "--config.model.name=gpnas_flag_nets:Net",
        "--config.method.name=gpnas_flag_nets:method",
    )
    config = parse(
        CONFIG, WORKDIR, *names, "--config.model.depth=3", "--config.model.rate=1",
        "--noconfig.model.norm", "--config.model.kind=wide", "--config.method.every=1%",
    )  # fmt: skip
    found = {name: config.model[name] for name in ("depth", "rate", "norm", "kind")}
    assert found == {"depth": 3, "rate": 1.0, "norm": False, "kind": "wide"}
    assert config.method.every == "1%"
    assert parse(CONFIG, WORKDIR, *names, "--config.method.every=5").method.every == 5
    with pytest.raises(UserError, match=r"config\.model\.width: .*depth, rate, norm, kind"):
        parse(CONFIG, WORKDIR, *names, "--config.model.width=5")


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("config.method.dens: got '1', allowed: .*density", ("--config.method.dens=1",)),
        ("config.method.density.x: got '1'", ("--config.method.density.x=1",)),
        ("config.model.depth: got '3', allowed: .*name.*widths", ("--config.model.depth=3",)),
        ("config.method.decay: got 'x', .* float", ("--config.method.decay=x",)),
        (
            "config.optimizer.arguments.foo: got '1', .*momentum",
            ("--config.optimizer.arguments.foo=1",),
        ),
        ("config.train.init_names: got 'a=b', .* a dict", ("--config.train.init_names=a=b",)),
        ("config.train.epochs: got 'abc', .* int", ("--config.train.epochs=abc",)),
        ("config.train.epochs: got '1.5', .* int", ("--config.train.epochs=1.5",)),
        ("config.train.epochs: got '', .* int", ("--config.train.epochs=",)),
        ("config.train.tensorboard: got 'maybe', .* bool", ("--config.train.tensorboard=maybe",)),
        ("config.data.validation: got 'x', .* float", ("--config.data.validation=x",)),
        ("config.train: got '3', .* a dict", ("--config.train=3",)),
        ("Missing value for flag", ("--config.seed",)),
        ("command line: got '4', allowed: flags only", ("--config.seed", "3", "4")),
        ("Unknown command line flag 'workdri'", ("--workdri=x",)),
        ("--config.seed=1 in argv before", ("FIRST", "--config.seed=1", CONFIG)),
        ("config: got 'configs/nope.py', allowed: a Python file", ("--config=configs/nope.py",)),
        ("config: got None, allowed: path to config file", ("FIRST",)),
        ("config: got '.*bad.py', allowed: .*NameError: name 'foo'", ("--config=BAD",)),
        ("config: got '.*none.py', allowed: a Python file whose", ("--config=NONE",)),
        ("config: got '.*typed.py', allowed: .*epochs", ("--config=TYPED",)),
    ],
)
def test_what_is_refused(said, arguments, parse, tmp_path):
    files = {
        "BAD": "def get_config():\n    return foo\n",
        "NONE": "def get_config():\n    return None\n",
        "TYPED": "from gpnas.train import base\n"
        "def get_config():\n    c = base()\n    c.train.epochs = 'a'\n    return c\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name.lower()}.py").write_text(text)
        arguments = [a.replace(f"={name}", f"={tmp_path / name.lower()}.py") for a in arguments]
    whole = arguments[1:] if arguments[0] == "FIRST" else [CONFIG, *arguments]
    with pytest.raises(UserError, match=said) as caught:
        parse(WORKDIR, *whole)
    assert len(" ".join(str(caught.value).split())) < 600
