"""Ablations for docs/coupling.md: which parts of development matter."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import OURS, WINDOW_1_HIGHER
from experiments.studies.coupling.tables import ablation_table, training_flops, validation_error
from experiments.studies.coupling_ablations.config import (
    BASELINES,
    DENSITY,
    OF_WINDOW_1,
    SPARSEST,
    WITH_NOISE,
    get_config,
)
from experiments.studies.densities import at_density, by_seed
from experiments.studies.study import Section, Study, records, sweep
from gpnas.report import Cell, Column, Table, stats

_PARTS = {
    density: f"Parts of development with a window of 1, at {100 * density:g} % of the weights"
    for density in (DENSITY, SPARSEST)
}


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found, removed = records(results, config), records(results, config, "removed")
    of_window_1 = [record for record in found if record["arm"] in OF_WINDOW_1]
    now = [record for record in found if record["arm"] not in OF_WINDOW_1]
    of = {density: at_density(now, density) for density in (DENSITY, SPARSEST)}
    own = [record for record in of[DENSITY] if not record["arm"].startswith(tuple(BASELINES))]
    tables = [
        ablation_table(own, "Development with one change at a time"),
        ablation_table(of[SPARSEST], "Other ways to grow, at 0.5 % of the weights"),
        *(
            ablation_table(at_density(of_window_1, density), caption, WINDOW_1_HIGHER)
            for density, caption in _PARTS.items()
            if at_density(of_window_1, density)
        ),
        ablation_table(removed, "Options that development no longer has, with survival feedback"),
    ]
    if len(own) < len(of[DENSITY]):
        tables.insert(1, noise_table(of[DENSITY]))
    return {"coupling_ablations": Section(tables)}


def noise_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulates the effect of noise on active weights in development and in baselines.

    Args:
      records: Records of the study at 2 %.
    """
    columns = [
        Column("arm", numeric=False),
        Column("validation error %"),
        Column("with noise"),
        Column("difference"),
        Column("training FLOPs with noise"),
    ]
    pairs = {OURS: "with noise"} | {name: name + WITH_NOISE for name in BASELINES}
    rows = []
    for names in pairs.items():
        without, noisy = ([r for r in records if r["arm"] == name] for name in names)
        texts = [
            stats.estimate_text(stats.estimate(map(validation_error, own)))
            for own in (without, noisy)
        ]
        gap = stats.paired_difference(*(by_seed(own, validation_error) for own in (noisy, without)))
        cost = f"{training_flops(noisy):.3f}" if noisy else "–"
        rows.append([*map(Cell, (names[0], *texts, stats.interval_text(gap, sign="+"), cost))])
    note = (
        "Validation error at the last step, mean ± half the 95 % interval over seeds; differences"
        " are paired by seed, not corrected. Training FLOPs over those of a dense run."
    )
    return Table("The same noise in development and in baselines", columns, rows, [note])


STUDY = Study(get_config, sweep, _sections, "coupling.md")
