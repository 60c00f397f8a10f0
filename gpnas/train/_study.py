"""A study: arms × densities × seeds, and the file of their records."""

import itertools
import json
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from absl import logging
from ml_collections import ConfigDict

from gpnas import _stop
from gpnas._files import PathLike, append_line, check_writable, read_lines, records_path
from gpnas._locks import locked
from gpnas._stop import Stopped
from gpnas.data import Dataset
from gpnas.errors import UserError, check_choice, explained, one_of
from gpnas.sections import check_section
from gpnas.train._config import base, check_config, config_key
from gpnas.train._load_data import load_data
from gpnas.train._loop import train_replicas
from gpnas.train._prepare import checked_plan, separated_by
from gpnas.train._run import Diverged
from gpnas.train._together import faster_together
from gpnas.train._workdir import begun_in, check_begun, check_workdirs

_REPLICAS = ("auto", "on", "off")
_OF_THE_STUDY = ("study", "arm", "seed")  # fields of a run that its study sets


class RunGroup(NamedTuple):
    """Runs of one setting of a study that train together.

    Attributes:
      name: Name of the setting.
      configs: Configs of the runs, which differ only in the seed.
      data: Their data set.
    """

    name: str
    configs: list[ConfigDict]
    data: Dataset


def study(
    name: str,
    arms: Mapping[str, ConfigDict],
    *,
    densities: Sequence[float] = (0.02,),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    replicas: str = "auto",
) -> ConfigDict:
    """Returns the config of a study, for a config file.

    Args:
      name: Name of the study; records are written to results/NAME.
      arms: Config by name of the arm; a part after @ distinguishes settings of one arm (for example
        penalties of a method without a density).
      densities: Densities of arms that have a `method.density`; empty: those of the arms.
      seeds: Seeds of each arm.
      replicas: Whether the seeds of a setting train as one vmapped program: "on", "off", or "auto"
        (if that is faster, measured once per device).
    """
    config = ConfigDict()
    config.study = name
    config.densities = tuple(densities)
    config.seeds = tuple(seeds)
    config.replicas = replicas
    config.raw_dir = ""  # default of the arms' data.raw_dir
    config.only = ""  # comma-separated arms; all if empty
    config.arms = ConfigDict(dict(arms), allow_dotted_keys=True)
    return config


def settings(config: ConfigDict) -> Iterator[tuple[str, list[ConfigDict]]]:
    """Yields the settings of a study: `(name, config of each seed)`.

    Args:
      config: Config from `study`.

    Raises:
      UserError: If a field is unknown, missing or of another type, there are no seeds, a seed or
        density occurs twice, or an arm is unknown.
    """
    default = study("", {})
    default.arms = ConfigDict()
    check_section(config, default, "", ("arms",), (), "gpnas.train.study")
    folders, unset = dict[str, str](), base()
    for arm, own in config.arms.items():
        if "/" in arm:
            raise UserError("arms", arm, "a name without '/'")
        if (other := folders.setdefault(arm.replace(" ", "-"), arm)) != arm:
            raise UserError("arms", arm, f"a name whose folder is not that of {other!r}")
        check_config(own, f"arms.{arm}")
        for field in _OF_THE_STUDY:
            if own[field] != unset[field]:
                allowed = f"{unset[field]!r}; a study sets it for each run"
                raise UserError(f"arms.{arm}.{field}", own[field], allowed)
    for field, kind in (("densities", (int, float)), ("seeds", (int,))):
        values = tuple(config[field])
        if any(type(value) not in kind for value in values):
            raise UserError(field, values, "numbers" if float in kind else "whole numbers")
        if len(set(values)) < len(values):
            raise UserError(field, values, "each once")
    if not config.seeds:
        raise UserError("seeds", (), "one or more")
    only = [arm.strip() for arm in config.only.split(",") if arm.strip()] or list(config.arms)
    chosen = []
    for name in only:
        same = arms_named(name, config.arms)
        if not same:
            raise UserError("only", name, one_of(name, config.arms))
        chosen += same
    for arm in dict.fromkeys(chosen):
        own = config.arms[arm]
        densities = config.densities if "density" in own.method else ()
        for density in densities or (None,):
            yield _setting(config, arm, own, density)


def arms_named(name: str, arms: Collection[str]) -> list[str]:
    """Returns the arm with this name, or else all settings of an arm (the part before the @)."""
    return [name] if name in arms else [arm for arm in arms if name == arm.partition("@")[0]]


def _setting(
    config: ConfigDict, arm: str, own: ConfigDict, density: float | None
) -> tuple[str, list[ConfigDict]]:
    seeds = []
    for seed in config.seeds:
        one = ConfigDict(own.to_dict())
        one.study, one.arm, one.seed = config.study, arm.partition("@")[0], seed
        one.resume = True
        one.data.raw_dir = one.data.raw_dir or config.raw_dir
        if density is not None:
            with one.method.ignore_type():  # allows a density of another type
                one.method.density = density
        seeds.append(one)
    return arm if density is None else f"{arm}-{density:g}", seeds


def run_study(
    config: ConfigDict,
    workdir: PathLike,
    results: PathLike,
    stopped: Callable[[], bool] | None = None,
) -> pathlib.Path:
    """Trains the missing runs of a study, and returns the path of its records.

    All missing runs are checked before the first one starts. A run that diverges does not stop the
    others; its error is raised at the end.

    Args:
      config: Config from `study`.
      workdir: Folders of runs are created in workdir/STUDY.
      results: Records are appended to results/STUDY/records.jsonl.
      stopped: `() → bool`, whether to stop; by default, whether SIGTERM or SIGINT was received.

    Raises:
      UserError, Diverged, Stopped: As for `train`.
    """
    if stopped is None:
        with _stop.stop_signal() as stopped:
            return run_study(config, workdir, results, stopped)
    diverged, missing = [], missing_groups(config, workdir, results)
    for name, groups in itertools.groupby(missing, lambda one: one.name):
        for group in groups:
            if stopped():
                raise Stopped(f"stopped before seed {group.configs[0].seed} of {name}")
            try:
                run_group(group, workdir, results, stopped)
            except Diverged as error:
                diverged.append(str(error))
        jax.clear_caches()  # frees the programs of finished settings
    if diverged:
        raise Diverged("; ".join(diverged))
    return records_path(results, config.study)


def run_group(
    group: RunGroup, workdir: PathLike, results: PathLike, stopped: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Trains runs of one setting; each record is appended once, even if others train the same.

    Args:
      group: The runs.
      workdir, results, stopped: As for `run_study`.

    Returns:
      Records of the runs.

    Raises:
      InUse: If another process trains one of them.
      UserError, Diverged, Stopped: As for `train`.
    """
    logging.info("%s, seeds %s", group.name, [one.seed for one in group.configs])
    folders = _folders(group.name, group.configs, workdir)
    path = records_path(results, group.configs[0].study)
    check_writable(path.parent, "results")
    try:
        records = train_replicas(group.configs, folders, group.data, stopped)
    except Diverged as error:
        raise Diverged(f"{', '.join(folder.name for folder in folders)}: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path, field="results"):  # the file itself, since other hosts may append
        done = _done(path)
        for record in records:
            if run_key(record["config"]) not in done:
                append_line(path, record)
    return records


def _folders(name: str, configs: Sequence[ConfigDict], workdir: PathLike) -> list[pathlib.Path]:
    parent = records_path(workdir, configs[0].study).parent
    return [parent / f"{name}-seed{one.seed}".replace(" ", "-") for one in configs]


def missing_groups(config: ConfigDict, workdir: PathLike, results: PathLike) -> list[RunGroup]:
    """Returns the runs of a study without a record, in groups that train together.

    Args:
      config: Config from `study`.
      workdir: Folders of runs are in workdir/STUDY.
      results: Folder of records, results/STUDY/records.jsonl.

    Raises:
      UserError: If the config of any run is invalid, its folder contains another run, or a folder
        cannot be written to.
    """
    check_choice("replicas", config.replicas, _REPLICAS)
    done = _done(records_path(results, config.study))
    loaded: dict[str, Dataset] = {}
    found = []
    for name, seeds in settings(config):
        missing = [one for one in seeds if run_key(one.to_dict()) not in done]
        if not missing:
            continue
        data = data_of(missing[0], loaded)
        for field, folder in (("workdir", workdir), ("results", results)):
            check_writable(records_path(folder, config.study).parent, field)
        check_workdirs(_folders(name, missing, workdir), missing, data)
        plan, begun = checked_plan(missing[0], data), _begun_groups(name, missing, workdir)
        fresh = [one for one in missing if not any(one in group for group in begun)]
        together = config.replicas == "on"
        if len(fresh) < 2 or separated_by(missing[0]):
            together = False
        elif config.replicas == "auto":
            together = faster_together(missing[0], data, plan, len(fresh))
        groups = [*begun, *([fresh] if together else [[one] for one in fresh])]
        found += [RunGroup(name, group, data) for group in groups]
    return found


def _begun_groups(
    name: str, configs: Sequence[ConfigDict], workdir: PathLike
) -> list[list[ConfigDict]]:
    """Returns the runs with checkpoints, grouped as they began.

    Raises:
      UserError: If a run that began together with one of them is missing.
    """
    groups = dict[pathlib.Path, list[ConfigDict]]()
    for one, folder in zip(configs, _folders(name, configs, workdir), strict=True):
        if (begun := begun_in(folder)) is not None:
            groups.setdefault(begun.resolve(), []).append(one)
    for group in groups.values():
        check_begun(_folders(name, group, workdir), [one.seed for one in group])
    return list(groups.values())


def data_of(config: ConfigDict, loaded: dict[str, Dataset]) -> Dataset:
    """Returns the data set of a config, from those already loaded, or loads and adds it.

    Args:
      config: Config of a run.
      loaded: Data sets by their fields as JSON; extended in place.
    """
    fields = {"data": config.data.to_dict() | {"augment": ""}, "task": config.task.name}
    source = json.dumps(fields, sort_keys=True)  # the task determines the kind of targets
    loaded[source] = loaded.get(source) or load_data(config)
    return loaded[source]


def run_key(config: Mapping[str, Any]) -> str:
    """Returns `config_key` of a run's config as JSON; two runs with the same key are the same."""
    return json.dumps(config_key(config), sort_keys=True)


def _done(path: pathlib.Path) -> set[str]:
    with explained("results", str(path), "records of a study", KeyError, AttributeError):
        return {run_key(record["config"]) for record in read_lines(path)}
