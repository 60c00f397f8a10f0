"""A front of networks from one run: a main run that shrinks, and branches that finish training."""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from gpnas._files import PathLike, sealed, write_json
from gpnas.data import Dataset
from gpnas.provenance import provenance
from gpnas.train._at_once import RunSpec, train_at_once
from gpnas.train._config import base
from gpnas.train._elastic import active_network
from gpnas.train._front_folder import check_front_folder, locked_front, write_settings
from gpnas.train._front_plan import (
    FrontSettings,
    branch_config,
    equal_epochs,
    level_epochs,
    main_config,
    relative_levels,
    run_names,
    scratch_config,
    split_config,
    uniform_architecture,
    uniform_units,
    with_updates_before_levels,
)
from gpnas.train._front_record import Trained, front_record
from gpnas.train._load_data import load_data
from gpnas.train._load_run import load_run
from gpnas.train._plan import make_plan
from gpnas.train._rebuild import find_rebuild


def front_config() -> ConfigDict:
    """Returns the default config of a front: its main run's, and `FrontSettings`."""
    config = base(name="development_cost", every="auto", window="auto")
    config.update(FrontSettings()._asdict())
    config.model.name = "convnet"
    config.elastic = True
    config.elastic_round_to = 1
    config.optimizer.schedule = "constant"
    config.optimizer.warmup_at = 0.05
    return config


def train_front(
    config: ConfigDict, workdir: PathLike, data: Dataset | None = None
) -> dict[str, Any]:
    """Trains a shrinking network, and at each level of cost a branch of it to the end.

    The main run has a constant learning rate. In its second half, it reaches the levels one after
    another, at ends of epochs. At each level, the network without its inactive units is trained for
    `branch_epochs` more, at a rate that decays linearly to zero.

    With `elastic`, the arrays of a branch have the widths of the active network. Otherwise they
    have full widths, and inactive units stay inactive (`static_units`); this works for every
    network whose units can be discovered.

    Args:
      config: The config, see `front_config`.
      workdir: Folder: `main`, `level-0.5`, … and `uniform-0.5`, … are folders of runs; front.json
        is the record.
      data: The data set, if already loaded.

    Returns:
      The record.

    Raises:
      UserError: For an invalid config, or a folder that another run has used.
      Diverged, Stopped: As for `train`; the same call with `resume` resumes.
    """
    settings, run = split_config(config)
    folder = pathlib.Path(workdir)
    check_front_folder(folder, config, run_names(settings))
    data = load_data(run) if data is None else data
    with locked_front(folder, config, run_names(settings)):
        return _train_all(config, settings, run, folder, data)


def _train_all(
    config: ConfigDict,
    settings: FrontSettings,
    run: ConfigDict,
    folder: pathlib.Path,
    data: Dataset,
) -> dict[str, Any]:
    """Trains all networks in a locked folder, see `train_front`."""
    levels, table = relative_levels(run, settings, folder, data)
    main = main_config(run, settings, levels)
    main, plan = with_updates_before_levels(main, make_plan(main, data), data)
    rebuild = find_rebuild(main, data, plan) if main.elastic else None
    uniform = {
        level: uniform_units(plan, cost, settings.front_by, table)
        for level, cost in zip(settings.front, levels, strict=True)
        if settings.baselines or settings.retrain
    }
    write_settings(folder, config)
    per_epoch = plan.steps_per_epoch
    branch_steps = settings.branch_epochs * per_epoch
    of_branches, of_main = len(levels) * branch_steps, plan.total_steps
    train_group = functools.partial(train_at_once, folder=folder, data=data, title="front")
    first = train_group([RunSpec("main", main, of_main)], after=of_branches)
    active: dict[str, Mapping[str, Any]] = {}
    found: dict[str, Mapping[str, Any]] = {}
    steps, branches = dict[str, int](), []
    for level, epoch in zip(settings.front, level_epochs(main.train.epochs, settings), strict=True):
        name = f"level-{level:g}"
        finished = load_run(folder / "main", "last", data, epoch=epoch, plan=plan)
        active[name], steps[name] = finished.units, epoch * per_epoch
        variables = finished.variables
        if rebuild is not None:
            found[name], variables = active_network(
                finished.plan, rebuild, variables, finished.units
            )
        branch = branch_config(main, settings, found.get(name), name)
        branches.append(RunSpec(name, branch, branch_steps, variables))
    second = train_group(branches, before=of_main)
    records = {**first.records, **second.records}
    scratch = {
        f"retrained-{level:g}": (found[f"level-{level:g}"], active[f"level-{level:g}"])
        for level in settings.front
        if settings.retrain
    }
    if settings.baselines and rebuild is not None:
        for level, masks in uniform.items():
            scratch[f"uniform-{level:g}"] = uniform_architecture(plan, rebuild, masks), masks
    epochs = equal_epochs(plan, records.values(), uniform.values()) if scratch else 0
    active |= {name: unit_masks for name, (_, unit_masks) in scratch.items()}
    others = [
        RunSpec(name, scratch_config(main, settings, one, epochs, name), epochs * per_epoch)
        for name, (one, _) in scratch.items()
    ]
    if others:
        records |= train_group(others, before=of_main + of_branches).records
    taken = first.seconds + second.seconds
    summary = front_record(Trained(records, active, steps, plan, table, taken))
    record = sealed({"config": config.to_dict(), **provenance(), **summary})
    write_json(folder / "front.json", record)
    return record
