"""Zero-cost proxies on NAS-Bench-201: rank correlations with trained accuracy."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.proxies.config import get_config
from experiments.studies.proxies.run import advantages, correlations, matching, score_sample
from experiments.studies.proxies.tables import Ranking, ranking_figure, ranking_table
from experiments.studies.study import Section, Study, records, to_results

_SIZE = "params (table)"  # reference of the scores
_CAPTION = "How well scores of untrained networks rank trained ones"


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    config.data.name = "folder:cifar10_jpeg"  # data of the committed records
    found = matching(records(results, config), config)
    if not found:
        return {"proxies": Section()}
    rhos = correlations(found, config.against)
    ranked = [Ranking(name, *one) for name, one in rhos.items()]
    more = advantages(found, config.against, _SIZE)
    ahead = [Ranking(name, *one) for name, one in more.items()]
    seconds = sum(record["wall_s"] for record in found) / len(found)
    note = (
        f"{len(found)} random networks of the table, {config.channels} channels,"
        f" {config.cells} cell per stage, at initialisation, one batch of {config.batch}"
        f" images of cifar10_jpeg, the same initial weights for all; all scores of a network took"
        f" {seconds:.1f} s under other load. Accuracy: 100 % − {config.against} of the table,"
        f" networks of 5 cells."
        " Intervals: percentile bootstrap over networks."
    )
    figure = ranking_figure("proxies", ranked, _CAPTION)
    return {"proxies": Section([ranking_table(_CAPTION, ranked, ahead, _SIZE, [note])], [figure])}


STUDY = Study(get_config, to_results(score_sample), _sections, "nas.md")
