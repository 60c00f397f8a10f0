"""A front of networks from one run, and an ablation of its parts."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.front.config import get_config
from experiments.studies.front.figures import front_figure
from experiments.studies.front.run import chosen_rates, run
from experiments.studies.front.tables import (
    front_tables,
    latency_table,
    rate_table,
    short_table,
)
from experiments.studies.study import Section, Study, records


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    own = [record for record in found if record["seed"] in config.seeds]
    if not own:
        return {"front": Section()}
    rates = chosen_rates(found, config)
    levels = config.front.front
    tables, figure = front_tables(own, rates, levels), front_figure(own, rates, levels)
    tables += filter(None, [rate_table(own, rates, levels)])
    timed = latency_table(records(results, config, "latency"))
    short = Section([short_table(own, rates, levels)], [figure])
    return {
        "front": Section(tables, [figure]),
        "front latency": Section([timed] if timed else []),
        "front in short": short,
    }


def sections_of_errors(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    """Returns the tables of a study of the front on another network or data set.

    Args:
      results: Folder of all studies' records.
      config: The study's config.
    """
    found = records(results, config)
    own = [record for record in found if record["seed"] in config.seeds]
    if not own:
        return {config.study: Section()}
    return {
        config.study: Section(front_tables(own, chosen_rates(found, config), config.front.front))
    }


def shorten(config: ConfigDict) -> None:
    config.rates, config.seeds, config.front.branch_epochs = (0.1,), (0,), 1


STUDY = Study(get_config, run, _sections, "front.md", shorten=shorten, readme=("front in short",))
