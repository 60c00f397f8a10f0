"""Wrong configs, drawn at random: each is one line, or a plan."""

import random

import pytest
from ml_collections import ConfigDict

from gpnas.errors import UserError
from gpnas.train import base, check_config, make_plan, train

ODD = (
    None, True, -1, 0, 2, 10**19, -(10**19), 1e300, -0.5, 0.5, float("nan"), float("inf"), "",
    "x" * 5000, "größe", "os:system", "json:loads", ":", "a:b:c", (), (1, "a"), (-1,), [], [3],
    {"a": 1}, "1%", "auto", "200%", "two\nlines", b"x",
)  # fmt: skip
METHODS = (
    {"name": "gmp", "density": 0.1}, {"name": "rigl", "density": 0.2}, {"name": "dense"},
    {"name": "development", "density": 0.2}, {"name": "l0"}, {"name": "set", "density": 0.1},
)  # fmt: skip


def wrong_config(seed):
    """A config of which one to three fields have an odd value, a wrong name, or are gone."""
    draw = random.Random(seed)
    config = base(**draw.choice(METHODS))
    config.data.name, config.model.widths = "digits", (8,)
    config = ConfigDict(config.to_dict())
    for _ in range(draw.randint(1, 3)):
        section = draw.choice(("", "train", "model", "method", "optimizer", "gates"))
        holder = config.get(section) if section else config
        if not isinstance(holder, ConfigDict):
            continue
        name = draw.choice(sorted(holder) or ["new"])
        if name in ("data", "tensorboard"):
            continue
        with holder.ignore_type():
            how = draw.random()
            if how < 0.08 and name in holder:
                del holder[name]
            else:
                own = [odd for odd in ODD if type(odd) is type(holder.get(name))]
                holder["odd" if how > 0.92 else name] = draw.choice(
                    own if own and how < 0.7 else ODD
                )
    return config


def outcome(config, data):
    try:
        check_config(config)
        make_plan(config, data)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) <= 1000, str(error)
        return "refused"
    return "plan"


@pytest.mark.slow
def test_wrong_configs_are_one_line_each(digits):
    found = [outcome(wrong_config(seed), digits) for seed in range(60)]
    assert found.count("refused") > 30 and found.count("plan") > 0


@pytest.mark.parametrize("config", [ConfigDict(), ConfigDict({"train": 3}), {}, None])
def test_an_empty_config(config, tmp_path):
    with pytest.raises(UserError):
        train(config, tmp_path / "run")
    assert not list(tmp_path.iterdir())
