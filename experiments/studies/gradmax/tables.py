"""Growth of a student's neurons by arm: a table, and a figure of losses and gradients.

Its records have `losses`, one every `config.every` steps, `loss_after_growth` and, for each growth,
the `gradient_norms` before and after it.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from gpnas.report import Cell, Column, FigureSpec, Panel, Table, formatting, stats, style

Records = Sequence[Mapping[str, Any]]
_COLOURS = ("c1", "c2", "c5", "c6", "c0", "c3")
_SIZE = (400.0, 280.0)


def growth_tables(records: Records, pairs: Sequence[tuple[str, str]]) -> list[Table]:
    """Tabulates the results of each arm, and paired differences of arms.

    Args:
      records: Records of one study, with the same settings.
      pairs: (arm, control) pairs, compared at each growth if both have records.
    """
    arms = _arms(records)
    growths = len(records[0]["loss_after_growth"])
    each = [f"growth {i + 1}" for i in range(growths)]
    titles = ("after the first", *each, "last")
    losses = Table(
        "Mean loss after growths",
        [Column("arm", numeric=False), *map(Column, titles)],
        [[Cell(arm), *map(Cell, map(_text, _losses(own)))] for arm, own in arms.items()],
        [f"Mean ± half the 95 % interval over {len(next(iter(arms.values())))} seeds, each with"
        f" a different teacher. After the first: over all steps after it. After a growth: over the"
         " steps up to the next one, or to the end."],
    )  # fmt: skip
    gains = Table(
        "Gain of the gradient's norm by a growth",
        [Column("arm", numeric=False), *map(Column, each)],
        [[Cell(arm), *map(Cell, map(_text, _columns(_gains(own))))]
         for arm, own in arms.items() if any(r["gradient_norms"] for r in own)],
        ["Norm of the gradient of all weights after the growth minus that before it."],
    )  # fmt: skip
    rows = []
    for arm, control in (pair for pair in pairs if set(pair) <= set(arms)):
        both = set.intersection(*({r["seed"] for r in arms[name]} for name in (arm, control)))
        ours, theirs = ([r for r in arms[name] if r["seed"] in both] for name in (arm, control))
        behind = _columns(np.array([*map(_after, theirs)]) - [*map(_after, ours)])
        more = _columns(_gains(ours) - _gains(theirs))
        rows.append([Cell(f"{arm}, loss below {control}'s"), *map(Cell, map(_text, behind))])
        rows.append(
            [Cell(f"{arm}, gain above {control}'s"), Cell(""), *map(Cell, map(_text, more))]
        )
    titles = ("after the first", *each)
    differences = Table(
        "GradMax against random, seed by seed",
        [Column("difference", numeric=False), *map(Column, titles)],
        rows,
        ["Above zero: GradMax is better."],
    )
    return [losses, gains, differences]


def growth_figure(records: Records) -> FigureSpec:
    """Plots loss and the gain of the gradient's norm at each growth, mean and interval."""
    arms = _arms(records)
    config = records[0]["config"]
    colours = dict(zip(arms, (style.COLOURS[c][0] for c in _COLOURS), strict=False))
    lines = {arm: _columns(np.array([r["losses"] for r in own])) for arm, own in arms.items()}
    gains = {arm: _columns(_gains(own)) for arm, own in arms.items() if own[0]["gradient_norms"]}
    text = "; ".join(f"{arm} {_losses(own)[-1].mean:.3f}" for arm, own in arms.items())
    margins = (54.0, 12.0, 26.0, 44.0)
    loss = functools.partial(_draw_losses, lines, colours, config)
    gain = functools.partial(_draw_gains, gains, colours)
    panels = [Panel(loss, f"Last loss: {text}.", *_SIZE, margins)]
    if gains:
        panels.append(Panel(gain, "Gain of the gradient's norm by growth.", *_SIZE, margins))
    caption = (
        "Left: training loss of a student that gains neurons one by one; lines are means over"
        " seeds, bands 95 % intervals. Right: by how much each growth raises the norm of the"
        " gradient, with 95 % intervals."
    )
    return FigureSpec("gradmax", "GradMax: student and teacher", caption, panels, columns=2)


def _arms(records: Records) -> dict[str, Records]:
    """Groups records by arm in order, each sorted by seed."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        found.setdefault(record["arm"], []).append(record)
    return {arm: sorted(own, key=lambda r: r["seed"]) for arm, own in found.items()}


def _after(record: Mapping[str, Any]) -> list[float]:
    return [record["loss_after_first"], *record["loss_after_growth"]]


def _losses(records: Records) -> list[stats.Estimate]:
    return _columns(np.array([[*_after(r), r["last_loss"]] for r in records]))


def _gains(records: Records) -> np.ndarray:
    """Returns gains of the gradient's norm, (seeds, growths)."""
    norms = np.array([r["gradient_norms"] for r in records])
    return norms[..., 1] - norms[..., 0]


def _columns(rows: np.ndarray) -> list[stats.Estimate]:
    found = [stats.estimate(column.tolist()) for column in rows.T]
    return [one for one in found if one is not None]


def _text(one: stats.Estimate) -> str:
    return stats.interval_text(one, 3)


def _halves(estimates: Sequence[stats.Estimate]) -> np.ndarray:
    return np.array([one.half or 0.0 for one in estimates])


def _draw_losses(
    lines: Mapping[str, list[stats.Estimate]],
    colours: Mapping[str, str],
    config: Mapping[str, Any],
    ax: Axes,
) -> None:
    for arm, found in lines.items():
        steps = config["every"] * np.arange(len(found))
        mean, half = np.array([one.mean for one in found]), _halves(found)
        ax.fill_between(steps, mean - half, mean + half, color=colours[arm], alpha=0.15, lw=0)
        ax.plot(steps, mean, color=colours[arm], label=arm)
    for growth in range(config["start"], config["width"]):
        at = config["interval"] * (growth - config["start"] + 1)
        ax.axvline(at, color=style.GRID, lw=0.9, zorder=0)
    ax.set(yscale="log", xlabel="training step", ylabel="mean squared error (log scale)", xlim=0)
    ax.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: formatting.tick(value)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.legend(frameon=False, fontsize=9)


def _draw_gains(
    gains: Mapping[str, list[stats.Estimate]], colours: Mapping[str, str], ax: Axes
) -> None:
    wide = 0.8 / len(gains)
    for i, (arm, found) in enumerate(gains.items()):
        at = np.arange(len(found)) + (i - (len(gains) - 1) / 2) * wide
        means = [one.mean for one in found]
        ax.bar(at, means, 0.9 * wide, color=colours[arm], alpha=0.6, label=arm)
        ax.errorbar(at, means, _halves(found), fmt="none", ecolor=style.INK, elinewidth=0.9)
    count = len(next(iter(gains.values())))
    ax.set(xlabel="growth", ylabel="gain of the gradient's norm")
    ax.set_xticks(range(count), [str(i + 1) for i in range(count)])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(visible=False, axis="x")
    ax.legend(frameon=False, fontsize=9)
