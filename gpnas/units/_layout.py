"""Layouts: the origin of each index of an axis when units are removed or added."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gpnas.errors import UserError
from gpnas.units._groups import Member, UnitGroup, UnitGroups, UnitMasks, validated_masks

Axis = tuple[str, int]


class Layout(NamedTuple):
    """The indices of a resized axis.

    Attributes:
      source: (new size,) int, the old index that is moved here, or the template of a new index.
      fresh: (new size,) bool, whether the index belongs to a new unit, whose entries are zero.
    """

    source: np.ndarray
    fresh: np.ndarray


def layouts(
    groups: UnitGroups, unit_masks: UnitMasks, widths: Mapping[str, int], shapes: Mapping
) -> tuple[dict[Axis, Layout], dict[str, Layout]]:
    """Computes the layouts of axes for groups of other widths.

    Each group keeps its active units, then inactive ones in order. New units are appended; the
    spacing of their indices is that of the last two old units.

    Args:
      groups: Groups found by `discover`.
      unit_masks: `{group: (size,) bool}`; missing groups are active.
      widths: `{group: new size}`; the other groups keep their active units only.
      shapes: `{path: shape}` of each leaf.

    Returns:
      (layouts of the axes of leaves that change, layouts of the units of each group).

    Raises:
      UserError: For an unknown group, wrong masks, a width below 1 or below the number of active
        units, or a group for which the positions of new units are ambiguous.
    """
    masks = validated_masks(groups, unit_masks)
    for name in widths:
        groups.named(name)
    axes: dict[Axis, Layout] = {}
    members = {g.name: list(g.members) for g in groups.groups}
    units = {}
    for group in groups.groups:
        mask = masks.get(group.name, np.ones(group.size, bool))
        units[group.name] = order = _units(group, mask, widths.get(group.name, int(mask.sum())))
        left, fresh = order.source[~order.fresh], int(order.fresh.sum())
        if len(left) == group.size and not fresh:
            continue
        for key in {(m.path, m.axis): None for m in group.members}:
            size = shapes[key[0]][key[1]]
            old = axes.get(key, Layout(np.arange(size), np.zeros(size, bool)))
            own = [m for m in members[group.name] if (m.path, m.axis) == key]
            taken = _take(own, left, group.size, len(old.source))
            if not len(taken):
                raise UserError(
                    "unit_masks", f"nothing left of {key[0]}:{key[1]}", "one index or more"
                )
            at = _with_new(group.name, own, taken, left, fresh)
            axes[key] = Layout(old.source[at], old.fresh[at] | (_nth(at) > 0))
            for name, theirs in members.items():
                members[name] = [
                    _moved(m, at, left, name == group.name) if (m.path, m.axis) == key else m
                    for m in theirs
                ]
    return axes, units


def _units(group: UnitGroup, mask: np.ndarray, width: int) -> Layout:
    active = int(mask.sum())
    if width < max(active, 1):
        least = f"at least its {active} active units" if active else "1 or more"
        raise UserError(f"widths[{group.name}]", width, least)
    left = np.sort(np.argsort(~mask, kind="stable")[:width])
    fresh = np.arange(width) >= len(left)
    return Layout(np.concatenate([left, np.full(width - len(left), left[-1])]), fresh)


def _take(own: list[Member], left: np.ndarray, size: int, length: int) -> np.ndarray:
    """Returns the indices of an axis of a given length that belong to no removed unit."""
    removed = np.ones(size, bool)
    removed[left] = False
    keep = np.ones(length, bool)
    for member in own:
        keep[member.at[removed[member.unit]]] = False
    return np.flatnonzero(keep)


def _with_new(
    name: str, own: list[Member], taken: np.ndarray, left: np.ndarray, fresh: int
) -> np.ndarray:
    """Returns the kept indices, with those of the last unit repeated for each new unit."""
    if not fresh:
        return taken
    pairs = np.concatenate([np.stack([m.unit, m.at], 1) for m in own])
    if len(np.unique(pairs[:, 1])) < len(pairs):
        raise UserError(f"widths[{name}]", "more units", "units that share no index")
    last = np.isin(taken, pairs[pairs[:, 0] == left[-1], 1])
    before = np.isin(taken, pairs[pairs[:, 0] == left[-2], 1]) if len(left) > 1 else ~last
    pieces, start = [], 0
    for run in _runs(np.flatnonzero(last), np.flatnonzero(before)):
        pieces += [taken[start : run[-1] + 1], np.tile(taken[run], fresh)]
        start = run[-1] + 1
    return np.concatenate([*pieces, taken[start:]])


def _runs(last: np.ndarray, before: np.ndarray) -> list[np.ndarray]:
    """Splits the positions of the last unit into runs that contain none of the unit before it."""
    turn = np.searchsorted(before, last)
    return np.split(last, np.flatnonzero(np.diff(turn)) + 1)


def _nth(at: np.ndarray) -> np.ndarray:
    """Counts earlier occurrences of each index."""
    order = np.argsort(at, kind="stable")
    first = np.searchsorted(at[order], at[order])
    nth = np.empty(len(at), int)
    nth[order] = np.arange(len(at)) - first
    return nth


def _moved(member: Member, at: np.ndarray, left: np.ndarray, own: bool) -> Member:
    """Returns a member for an axis whose indices are now those in `at`."""
    order = np.argsort(member.at, kind="stable")
    first, stop = (np.searchsorted(member.at[order], at, side) for side in ("left", "right"))
    place = np.repeat(np.arange(len(at)), stop - first)
    start = np.cumsum(stop - first) - (stop - first)
    unit = member.unit[order][first[place] + np.arange(len(place)) - start[place]]
    if own:  # the n-th copy of an index is one of the n-th new unit
        nth = _nth(at)[place]
        unit = np.where(nth, len(left) + nth - 1, np.searchsorted(left, unit))
    return member._replace(unit=unit, at=place)
