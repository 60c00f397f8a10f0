"""Widths of any network: which arguments of its constructor set how many units it has.

They are found by tracing the network with one argument changed by 1, so that a network needs
neither a registry nor a declaration.
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
    """A number among the arguments of a constructor.

    Attributes:
      field: Name of the argument.
      place: Where it stands in it, if it is a tuple; () for an int.
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
    """Finds the number among a network's fields that sets the size of each group of units.

    Args:
      field: What needs them ("elastic"), for the message.
      shapes_of: `fields → variables` as shapes; raises `UserError` for fields that cannot be.
      fields: Arguments of the network's constructor; ints, also in tuples, are tried.
      groups: The units of the network of these fields.

    Returns:
      `{group: width}`. Raising a width by one adds one unit to its group, and to no other group.

    Raises:
      UserError: If no number sets the size of a group alone.
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
        except UserError:  # no width, or one that has to be a multiple of something
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
    """The fields with other values of some widths; lists become tuples."""
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
    """Indices along each axis that one unit owns."""
    axes: dict[Axis, float] = {}
    for m in group.members:
        axes[m.path, m.axis] = axes.get((m.path, m.axis), 0) + len(m.at) / group.size
    return axes


def _units_added(
    base: Mapping[str, tuple], shapes: Mapping[str, tuple], counts: list[dict[Axis, float]]
) -> np.ndarray:
    """(groups,) units that explain a change of shapes; zeros if something else has changed."""
    none = np.zeros(len(counts))
    if base.keys() != shapes.keys() or any(len(base[p]) != len(shapes[p]) for p in base):
        return none
    axes = [(path, axis) for path, shape in base.items() for axis in range(len(shape))]
    change = np.array([shapes[path][axis] - base[path][axis] for path, axis in axes], float)
    per_unit = np.array([[own.get(axis, 0) for own in counts] for axis in axes], float)
    units = np.rint(np.linalg.lstsq(per_unit, change, rcond=None)[0]) if counts else none
    return units if np.allclose(per_unit @ units, change) else none
