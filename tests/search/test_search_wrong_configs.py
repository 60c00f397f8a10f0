"""Wrong configs of searches, comparisons and sweeps, drawn at random: each is one line."""

import copy
import functools
import random

import pytest
from ml_collections import ConfigDict

from configs.searches import lemonade, nas_bench_201
from experiments.studies.early_stopping import config as early_stopping_config
from experiments.studies.early_stopping import run as early_stopping
from experiments.studies.fashion import config as fashion
from experiments.studies.proxies import config as proxies_config
from experiments.studies.proxies import run as proxies
from experiments.studies.searches_201 import config as searches_201
from experiments.studies.sharing import config as sharing_config
from experiments.studies.sharing import run as sharing
from gpnas.errors import UserError
from gpnas.search import load_table
from gpnas.search.build import build_search
from gpnas.search.comparison import plans
from gpnas.train import load_data, make_plan
from gpnas.train import settings as settings_of

SEEDS = 20
ODD = (
    None, True, -1, 0, 2, 10**19, -0.5, 0.5, float("nan"), float("inf"), "", "x" * 5000, "größe",
    "os:getcwd", "json:loads", "math:pi", ":", "a:b:c", (), (1, "a"), (-1,), [], [3], ["random"],
    {}, {"a": 1}, {"name": 3}, {"name": "random", "a": 1}, {"name": "math:pi"}, "two\nlines", b"x",
)  # fmt: skip


def trained(folder):
    config = lemonade.get_config()
    config.data.name = "digits"
    config.data.image_size = 0
    config.data.cache_dir = str(folder)
    config.network = ConfigDict({"widths": (2, 3), "pools": 1}, type_safe=False)
    return config


def swept(folder):
    config = fashion.get_config()
    for arm in config.arms.values():
        arm.data.name, arm.data.cache_dir, arm.model.widths = "digits", str(folder), (8,)
    return config


def runs(config):
    return [make_plan(seeds[0], load_data(seeds[0])) for _, seeds in settings_of(config)]


def compared(folder):
    config = searches_201.get_config()
    for arm in ("LaNAS", "LaNAS released", "LA-MCTS", "predictor"):
        del config.arms[arm]
    return config


table = functools.cache(load_table)


def of_proxies(config):
    proxies.check(config, table(proxies.SPACE))
    return ()


def of_sharing(config):
    sharing.check(config)
    return ()


SEARCHES = {
    "table": (lambda folder: nas_bench_201.get_config(), build_search),
    "trained": (trained, build_search),
    "comparison": (compared, plans),
    "sweep": (swept, runs),
    "early stopping": (lambda folder: early_stopping_config.get_config(), early_stopping.plan),
    "sharing": (lambda folder: sharing_config.get_config(), of_sharing),
    "proxies": (lambda folder: proxies_config.get_config(), of_proxies),
}


def sections(settings):
    """Every mapping in a config, itself included."""
    yield settings
    for value in settings.values():
        if isinstance(value, dict):
            yield from sections(value)


def wrong(settings, seed):
    """Settings of which one to three fields have an odd value, a wrong name, or are gone."""
    draw, settings = random.Random(seed), copy.deepcopy(settings)
    for _ in range(draw.randint(1, 3)):
        holder = draw.choice(list(sections(settings)))
        name = draw.choice(sorted(map(str, holder)) or ["new"])
        value = copy.deepcopy(draw.choice(ODD))
        how = draw.random()
        if how < 0.25:
            holder.pop(name, None)
        elif how < 0.35:
            holder["odd"] = value
        else:
            holder[name] = value
    return settings


@pytest.mark.slow
@pytest.mark.parametrize("kind", SEARCHES)
def test_wrong_configs_are_one_line_each(kind, digits, tmp_path):
    make, build = SEARCHES[kind]
    settings = make(tmp_path / "cache").to_dict()
    found = []
    for seed in range(SEEDS):
        config = ConfigDict(wrong(settings, seed), type_safe=False, allow_dotted_keys=True)
        try:
            list(build(config.to_dict() if build is build_search else config))
            found.append("works")
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) <= 1000, str(error)
            found.append("refused")
    assert found.count("refused") > SEEDS // 3
