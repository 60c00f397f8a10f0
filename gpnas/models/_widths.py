"""Widths of any network: the constructor arguments that set its numbers of units.

They are found by tracing the network with one argument changed by 1, so networks need no registry
or declaration.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from gpnas._files import tuples
from gpnas.errors import UserError
from gpnas.masks import tree
from gpnas.units import UnitGroups, is_block

Axis = tuple[str, int]  # path of a leaf, and one of its axes
_NEEDED = "a network with a field for each group of units (an int, or an item of a tuple)"


class Width(NamedTuple):
    """An integer constructor argument, or an item of a tuple argument.

    Attributes:
      field: Name of the argument.
      place: Index of the item in a tuple argument; () for an int.
      value: Its value.
    """

    field: str
    place: tuple[int, ...]
    value: int

    def __str__(self) -> str:
        return self.field + "".join(f"[{i}]" for i in self.place)


def find_widths(
    field: str,
    shapes_of: Callable[[Mapping[str, Any]], Any],
    fields: Mapping[str, Any],
    groups: UnitGroups,
) -> dict[str, Width]:
    """Finds the constructor argument that sets the size of each group of units.

    Args:
      field: Field that needs the widths ("elastic"), for the message.
      shapes_of: `fields → variables` as shapes; raises `UserError` for invalid fields.
      fields: Arguments of the network's constructor; all ints, including those in tuples, are
        tried.
      groups: The units of the network with these fields.

    Returns:
      `{group: width}`. Increasing a width by one adds one unit to its group and none to other
      groups.

    Raises:
      UserError: If no single argument sets the size of a group.
    """
    own = [group for group in groups.groups if not is_block(group.name)]
    counts = [_axes_of(group) for group in own]
    base = _shapes(shapes_of(fields))
    found: dict[str, Width] = {}
    shared: dict[str, list[str]] = {group.name: [] for group in own}
    for width in _numbers(fields):
        changed = with_widths(fields, {width: width.value + 1})
        try:
            shapes = _shapes(shapes_of(changed))
        except UserError:  # no width, or one that must be a multiple
            continue
        units = _units_added(base, shapes, counts)
        moved = {own[i].name: int(n) for i, n in enumerate(units) if n}
        if list(moved.values()) == [1]:
            found.setdefault(next(iter(moved)), width)
        for name, number in moved.items():
            others = [f"sets {other}, too" for other in moved if other != name][:1]
            shared[name].append(f"{width} {others[0] if others else f'adds {number} units a step'}")
    for group in own:
        if group.name not in found:
            why = "; ".join(shared[group.name][:2]) or "make its width one"
            said = f"{_NEEDED}; {group.name} ({group.size} units) has none of its own: {why}"
            raise UserError(field, True, f"{said}; or {field}=False")
    return found


def with_widths(fields: Mapping[str, Any], values: Mapping[Width, int]) -> dict[str, Any]:
    """Returns the fields with new values of some widths; lists become tuples."""
    new = {name: tuples(value) for name, value in fields.items()}
    for width, value in values.items():
        new[width.field] = _replaced(new[width.field], width.place, value)
    return new


def _replaced(value: Any, index: tuple[int, ...], number: int) -> Any:
    if not index:
        return number
    first, *rest = index
    inner = _replaced(value[first], tuple(rest), number)
    return (*value[:first], inner, *value[first + 1 :])


def _numbers(fields: Mapping[str, Any]) -> Iterator[Width]:
    def inside(field: str, value: Any, index: tuple[int, ...]) -> Iterator[Width]:
        if type(value) is int and value > 0:
            yield Width(field, index, value)
        for i, item in enumerate(value if isinstance(value, list | tuple) else ()):
            yield from inside(field, item, (*index, i))

    for name, value in fields.items():
        yield from inside(name, value, ())


def _shapes(variables: Any) -> dict[str, tuple[int, ...]]:
    return {path: jnp.shape(leaf) for path, leaf in tree.leaves_by_path(variables).items()}


def _axes_of(group: Any) -> dict[Axis, float]:
    """Returns the number of indices along each axis that one unit owns."""
    axes: dict[Axis, float] = {}
    for m in group.members:
        axes[m.path, m.axis] = axes.get((m.path, m.axis), 0) + len(m.at) / group.size
    return axes


def _units_added(
    base: Mapping[str, tuple], shapes: Mapping[str, tuple], counts: list[dict[Axis, float]]
) -> np.ndarray:
    """Returns (groups,) added units that explain a change of shapes; zeros if there are none."""
    none = np.zeros(len(counts))
    if base.keys() != shapes.keys() or any(len(base[p]) != len(shapes[p]) for p in base):
        return none
    axes = [(path, axis) for path, shape in base.items() for axis in range(len(shape))]
    change = np.array([shapes[path][axis] - base[path][axis] for path, axis in axes], float)
    per_unit = np.array([[own.get(axis, 0) for own in counts] for axis in axes], float)
    units = np.rint(np.linalg.lstsq(per_unit, change, rcond=None)[0]) if counts else none
    return units if np.allclose(per_unit @ units, change) else none
