"""Meaning of the inputs and targets of a data set, and their array types."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from gpnas.errors import UserError

InputKind = Literal["image", "features", "tokens"]
TargetKind = Literal["class", "value", "labels", "next"]


class Fields(NamedTuple):
    """The meaning of a data set's arrays; n is the number of examples.

    Attributes:
      inputs: "image": uint8, (n, height, width, channels), 0 to 255; "features": float32,
        (n, columns); "tokens": int32, (n, length), 0 to `tokens` - 1.
      targets: "class": int32, (n,), 0 to `outputs` - 1; "value": float32, (n, outputs); "labels":
        bool, (n, outputs); "next": int32, (n, length), the token that follows each input token.
      outputs: Number of network outputs: classes, values or labels, or tokens if targets are
        "next".
      names: Names of the outputs; may be empty.
      units: Units of the values; may be empty.
      columns: Names of the features; may be empty.
      tokens: Vocabulary size of the inputs, if they are tokens.
    """

    inputs: InputKind
    targets: TargetKind
    outputs: int
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    tokens: int = 0


class _Array(NamedTuple):
    """Storage of a kind: dtype, number of axes, and the NumPy kinds that convert to it."""

    dtype: Any
    axes: int
    given: str
    text: str


_REAL = "biuf"  # kinds of NumPy types: bool, int, unsigned int, float
INPUTS: Mapping[str, _Array] = {
    "image": _Array(np.uint8, 4, "", "uint8, (n, height, width, channels)"),
    "features": _Array(np.float32, 2, _REAL, "numbers, (n, columns)"),
    "tokens": _Array(np.int32, 2, "iu", "whole numbers, (n, length)"),
}
TARGETS: Mapping[str, _Array] = {
    "class": _Array(np.int32, 1, "iu", "whole numbers, (n,)"),
    "value": _Array(np.float32, 2, _REAL, "numbers, (n, outputs)"),
    "labels": _Array(np.bool_, 2, "b", "bool, (n, outputs)"),
    "next": _Array(np.int32, 2, "iu", "whole numbers, (n, length)"),
}


def image_fields(class_names: tuple[str, ...]) -> Fields:
    """Returns the fields of images with classes."""
    return Fields("image", "class", len(class_names), class_names)


def check_fields_complete(fields: Any, field: str, got: str) -> None:
    """Checks that a user's `Fields` are complete and consistent.

    Args:
      fields: Expected to be `Fields`.
      field: Argument that selected them, for the message.
      got: Value of the argument, for the message.

    Raises:
      UserError: If they are not.
    """
    if not isinstance(fields, Fields):
        raise UserError(field, got, f"fields of type gpnas.data.Fields, not {fields!r}")
    for allowed, holds in _RULES.items():
        if not holds(fields):
            raise UserError(field, got, f"fields with {allowed}; not {fields}")


def _are_integers(*numbers: Any) -> bool:
    return all(type(number) is int for number in numbers)


def _are_texts(*tuples: Any) -> bool:
    return all(
        isinstance(names, tuple) and all(isinstance(name, str) for name in names)
        for names in tuples
    )


# Rules for `Fields`; each may rely on those before it.
_RULES: Mapping[str, Callable[[Fields], bool]] = {
    f"inputs: {', '.join(INPUTS)}": lambda f: f.inputs in tuple(INPUTS),
    f"targets: {', '.join(TARGETS)}": lambda f: f.targets in tuple(TARGETS),
    "outputs of 1 or more, and tokens, as whole numbers": lambda f: (
        _are_integers(f.outputs, f.tokens) and f.outputs >= 1
    ),
    "2 outputs or more, where targets are class or next": lambda f: (
        f.outputs >= 2 or f.targets not in ("class", "next")
    ),
    "names, units and columns as tuples of texts": lambda f: _are_texts(
        f.names, f.units, f.columns
    ),
    "as many names as outputs, or none": lambda f: len(f.names) in (0, f.outputs),
    "as many units as outputs, or none": lambda f: len(f.units) in (0, f.outputs),
    "units for targets of kind value only": lambda f: not f.units or f.targets == "value",
    "columns for inputs of kind features only": lambda f: not f.columns or f.inputs == "features",
    "tokens of 1 or more for inputs of kind tokens, 0 for others": lambda f: (
        f.tokens >= 0 and (f.tokens > 0) == (f.inputs == "tokens")
    ),
    "inputs of kind tokens where targets are next, and as many outputs": lambda f: (
        f.targets != "next" or (f.inputs == "tokens" and f.outputs == f.tokens)
    ),
}


def misfit(fields: Fields, inputs: Any, targets: Any) -> str:
    """Returns which array has another type or shape than its kind requires; "" if none."""
    for part, array, kind in (
        ("inputs", inputs, INPUTS[fields.inputs]),
        ("targets", targets, TARGETS[fields.targets]),
    ):
        if array.dtype != kind.dtype or array.ndim != kind.axes:
            return f"{part} of {kind.text}, not {array.dtype}, {array.shape}"
    if len(inputs) != len(targets):
        return f"as many targets as inputs ({len(inputs)}), not {len(targets)}"
    if fields.targets == "next" and inputs.shape != targets.shape:
        return f"targets of the shape of the inputs {inputs.shape}, not {targets.shape}"
    if fields.targets in ("value", "labels") and targets.shape[1] != fields.outputs:
        return f"targets of {fields.outputs} outputs, not {targets.shape[1]}"
    if fields.columns and len(fields.columns) != inputs.shape[1]:
        return f"inputs with {len(fields.columns)} columns, one per name, not {inputs.shape[1]}"
    return "" if 0 not in inputs.shape else f"inputs that are not empty, not {inputs.shape}"
