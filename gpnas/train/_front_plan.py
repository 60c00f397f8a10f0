"""The plan of a front: its fields, levels of cost, and the configs of its runs."""

import itertools
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from gpnas import units
from gpnas._files import make_folder, read_json, write_json
from gpnas.data import Dataset
from gpnas.errors import UserError, check_choice
from gpnas.methods import fields_of
from gpnas.train._config import check_config
from gpnas.train._elastic import active_network
from gpnas.train._front_folder import LAYERS
from gpnas.train._plan import Plan, make_plan
from gpnas.train._rebuild import Rebuild

_FIRST = 0.1  # fraction of the main run before the network shrinks
_LATENCY = "latency_ms"  # value of `front_by`
_REST = 0.25  # fraction of the time between two levels with constant cost


class FrontSettings(NamedTuple):
    """The fields of a front's config, in addition to those of a run.

    Attributes:
      front: Decreasing costs of the networks, as fractions of the full network's cost, or in
        milliseconds.
      front_by: "macs", "params", "flops", or "latency_ms": the sum of layer latencies for one
        example, measured on this machine before the run.
      branch_epochs: Length of each branch in epochs.
      baselines: Whether to train networks of uniformly scaled widths from scratch for comparison,
        with the same total training FLOPs as the front.
      retrain: Whether to also train the front's networks from scratch, as long as the baselines.
    """

    front: tuple[float, ...] = (0.5, 0.25, 0.12, 0.06)
    front_by: str = "macs"
    branch_epochs: int = 2
    baselines: bool = False
    retrain: bool = False


def split_config(config: ConfigDict) -> tuple[FrontSettings, ConfigDict]:
    """Returns the fields of a front, and the config of its main run.

    Raises:
      UserError: For the first invalid field.
    """
    run = config.copy_and_resolve_references().unlock()
    defaults = FrontSettings()._asdict()
    for name, default in defaults.items():
        if type(run.get(name)) is not type(default):
            raise UserError(name, run.get(name), f"a value of type {type(default).__name__}")
    settings = FrontSettings(*(run[name] for name in defaults))
    for name in defaults:
        del run[name]
    check_config(run)
    levels = settings.front
    real = all(isinstance(x, float | int) and not isinstance(x, bool) for x in levels)
    falls = real and all(a > b for a, b in itertools.pairwise(levels))
    check_choice("front_by", settings.front_by, (*units.KINDS, _LATENCY))
    most = math.inf if settings.front_by == _LATENCY else 1
    if not levels or not falls or not 0 < levels[-1] <= levels[0] <= most:
        said = (
            "decreasing fractions of the cost in (0, 1]" if most == 1 else "decreasing milliseconds"
        )
        raise UserError("front", levels, said)
    if len({f"{level:g}" for level in levels}) < len(levels):
        raise UserError("front", levels, "levels that differ in their first six digits")
    if run.train.epochs < 1:
        raise UserError("train.epochs", run.train.epochs, "1 or more")
    for name in ("baselines", "retrain"):
        if getattr(settings, name) and not run.elastic:
            raise UserError(name, True, "False with elastic=False, which builds no other networks")
    if settings.branch_epochs < 1:
        raise UserError("branch_epochs", settings.branch_epochs, "1 or more")
    if run.train.keep_epochs:
        raise UserError("train.keep_epochs", run.train.keep_epochs, "(): front determines them")
    if run.train.patience:
        raise UserError("train.patience", run.train.patience, "0: all networks train to the end")
    for name in sorted({"curve", "cost", "table"} & {*run.method}):
        raise UserError(f"method.{name}", run.method[name], "none: front and front_by determine it")
    needed = {"curve", "floor", "table"} if settings.front_by == _LATENCY else {"curve"}
    if not needed <= fields_of(run.method.name).keys():
        raise UserError("method.name", run.method.name, "development_cost")
    return settings, run


def run_names(settings: FrontSettings) -> list[str]:
    """Returns the names of the folders of a front's runs."""
    kinds = ["level", *(["uniform"] if settings.baselines else [])]
    kinds += ["retrained"] if settings.retrain else []
    return ["main", *(f"{kind}-{level:g}" for kind in kinds for level in settings.front)]


def relative_levels(
    config: ConfigDict, settings: FrontSettings, folder: pathlib.Path, data: Dataset
) -> tuple[tuple[float, ...], units.LatencyTable | None]:
    """Returns the levels as fractions of the full cost; latencies of layers are measured.

    Raises:
      UserError: If a latency is out of the range of the network's, or a table in the folder is
        that of another network.
    """
    if settings.front_by != _LATENCY:
        return settings.front, None
    probe = main_config(config, settings._replace(front_by="macs"), [1.0] * len(settings.front))
    plan = make_plan(probe, data)
    model = plan.supernet.costs
    assert model is not None
    path = folder.absolute() / LAYERS
    if path.exists():
        allowed = "latencies of this network's layers, or no such file: they are then measured"
        table = read_json(path, "workdir", allowed)
        if not {layer.key for layer in model.layers} <= table.keys():
            raise UserError("workdir", str(path), allowed)
    else:
        table = units.measure_layers(model)
    whole = float(units.total_latency(model, {}, table))
    floor = config.method.get("floor", fields_of(config.method.name)["floor"].default)
    counts = units.fewest_units(model.sizes, floor)
    fewest = {n: np.arange(k) < counts[n] for n, k in model.sizes.items()}
    least = float(units.total_latency(model, fewest, table))
    if not least <= settings.front[-1] <= settings.front[0] <= whole:
        allowed = (
            f"milliseconds from {least:.4g}, of the fewest units, to {whole:.4g}, of all, as"
            " measured now"
        )
        raise UserError("front", settings.front, allowed)
    make_folder(folder, "workdir")
    write_json(path, table)
    config.method.table = str(path)
    return tuple(level / whole for level in settings.front), table


def level_epochs(epochs: int, settings: FrontSettings) -> list[int]:
    """Returns the epochs of the main run after which the network has each level of cost.

    They are evenly spaced over the second half of the run; the last one is its end.

    Raises:
      UserError: If two levels would be in the same epoch.
    """
    count = len(settings.front)
    ends = [epochs - epochs // 2 * (count - 1 - i) // count for i in range(count)]
    if len(set(ends)) < count:
        raise UserError("train.epochs", epochs, f"{2 * count} or more, for {count} levels")
    return ends


def main_config(config: ConfigDict, settings: FrontSettings, levels: Sequence[float]) -> ConfigDict:
    """Returns the config of the main run, with a cost curve through the levels."""
    main = config.copy_and_resolve_references().unlock()
    ends = level_epochs(main.train.epochs, settings)
    points, before = [(0.0, 1.0), (_FIRST, 1.0)], _FIRST
    for level, end in zip(levels, ends, strict=True):
        at = end / main.train.epochs
        points += [(at - _REST * (at - before), level), (at, level)]
        before = at
    main.method.curve = tuple(points)
    main.method.cost = settings.front_by.removesuffix("_ms")
    main.train.keep_epochs = tuple(ends)
    main.arm = main.arm or "front"
    return main


def with_updates_before_levels(
    main: ConfigDict, plan: Plan, data: Dataset
) -> tuple[ConfigDict, Plan]:
    """Ensures that masks are updated at the cost of each level, before its checkpoint.

    Args:
      main: Config of the main run, see `main_config`.
      plan: Its plan.
      data: The data set.

    Returns:
      The config and its plan; "auto" durations between mask updates may be shorter.

    Raises:
      UserError: If `method.every` is too long.
    """
    curve, total, every = main.method.curve, plan.total_steps, plan.durations.get("every", 1)
    steps = [round(at * total) for at, _ in curve[2:]]
    rests = list(zip(steps[::2], steps[1::2], strict=True))  # first step at a level, and its end

    def fits(every: int) -> bool:
        return all((end - 1) // every * every >= start for start, end in rests)

    if fits(every):
        return main, plan
    longest = max((n for n in range(1, every) if fits(n)), default=0)
    if not longest:
        allowed = (
            f"more, or a train.batch_size below {plan.batch_size}: {total} steps are too few for a"
            " mask update at each level"
        )
        raise UserError("train.epochs", main.train.epochs, allowed)
    if main.method.get("every") != "auto":
        allowed = f"at most {longest} steps: a mask update at each level; or more train.epochs"
        raise UserError("method.every", main.method.every, allowed)
    main = main.copy_and_resolve_references().unlock()
    with main.method.ignore_type():  # of "auto"
        main.method.every = longest
    return main, make_plan(main, data)


def branch_config(
    main: ConfigDict, settings: FrontSettings, architecture: Mapping[str, Any] | None, name: str
) -> ConfigDict:
    """Returns the config of a branch: the remaining network, at a rate that decays to zero.

    Args:
      main: Config of the main run.
      settings: Fields of the front.
      architecture: The network; None: that of the main run, whose inactive units stay inactive.
      name: Name of the run's folder.
    """
    branch = _without_updates(main, architecture, name)
    branch.optimizer.schedule = "linear"
    branch.optimizer.warmup_at = branch.optimizer.decay_at = 0.0
    branch.train.epochs = settings.branch_epochs
    return branch


def scratch_config(
    main: ConfigDict,
    settings: FrontSettings,
    architecture: Mapping[str, Any],
    epochs: int,
    name: str,
) -> ConfigDict:
    """Returns the config of a network trained from scratch, with the learning rates of a front.

    The rate is constant and then decays linearly, for the same fractions of the run as in the main
    run and a branch together.
    """
    scratch = _without_updates(main, architecture, name)
    constant = main.train.epochs / (main.train.epochs + settings.branch_epochs)
    scratch.optimizer.schedule = "linear"
    scratch.optimizer.decay_at = constant
    scratch.optimizer.warmup_at = main.optimizer.warmup_at * constant
    scratch.train.epochs = epochs
    return scratch


def uniform_architecture(
    plan: Plan, rebuild: Rebuild, widths: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Returns the network with the number of units of the given masks."""
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), plan.variables)
    return active_network(plan, rebuild, variables, widths)[0]


def equal_epochs(
    plan: Plan, records: Iterable[Mapping[str, Any]], masks: Iterable[Mapping[str, Any]]
) -> int:
    """Returns the epochs in which training all networks takes the total FLOPs of `records`.

    Args:
      plan: Plan of the main run.
      records: Records of the runs.
      masks: Unit masks of the networks.
    """
    assert plan.supernet.costs is not None
    macs = sum(float(units.total_cost(plan.supernet.costs, one, "macs")) for one in masks)
    flops = sum(record["cost"]["train_flops"] for record in records)
    return max(round(flops / (6 * macs * plan.batch_size * plan.steps_per_epoch)), 1)


def uniform_units(
    plan: Plan, level: float, kind: str, table: units.LatencyTable | None = None
) -> dict[str, np.ndarray]:
    """Returns masks of the largest fraction of all groups whose cost is at most `level`.

    Raises:
      UserError: If one unit of each group costs more.
    """
    model = plan.supernet.costs
    assert model is not None

    def cost(masks: Mapping[str, np.ndarray]) -> float:
        if kind == "latency_ms":
            return float(units.total_latency(model, masks, table or {}))
        return float(units.total_cost(model, masks, kind))

    def masks(fraction: float) -> dict[str, np.ndarray]:
        return {n: np.arange(k) < max(round(fraction * k), 1) for n, k in model.sizes.items()}

    fractions, whole = np.linspace(0, 1, 1001), cost({})
    costs = [cost(masks(f)) / whole for f in fractions]
    fitting = [f for f, c in zip(fractions, costs, strict=True) if c <= level]
    if not fitting:
        raise UserError("front", level, f"{costs[0]:.4f} or more: one unit of each layer")
    return masks(max(fitting))


def _without_updates(
    main: ConfigDict, architecture: Mapping[str, Any] | None, name: str
) -> ConfigDict:
    """Returns the main run's config for a network without mask updates."""
    config = main.copy_and_resolve_references().unlock()
    config.method = ConfigDict({"name": "dense" if architecture else "static_units"})
    config.elastic = False
    config.arm = name
    config.train.keep_epochs = ()
    config.train.init_from, config.train.init_names = "", ConfigDict()
    if architecture is None:
        return config
    place = {field: main.model[field] for field in ("dtype", "axes", "conv")}
    fields = {k: v for k, v in architecture["fields"].items() if k != "num_classes"}
    config.model = ConfigDict({"name": architecture["model"], **place, **fields})
    return config
