"""Data from a user's function: arrays, or sources read by index."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpnas import plugins
from gpnas.data._dataset import Array, Decoded, Split, content_digest, row_blocks
from gpnas.data._fields import INPUTS, TARGETS, Fields, check_fields_complete, misfit
from gpnas.data._storage import new_array
from gpnas.errors import UserError, explained

Examples = Any  # see `Source`


class Source(NamedTuple):
    """Return value of a user's function, `data.name=module:function`.

    Examples are a tuple `(inputs, targets)` of arrays, (n, …), as described by `Fields`, or an
    object with `__len__` and `__getitem__` whose items are pairs `(input, target)`, such as a Grain
    source. Arrays of the required dtype are copied only if a split is held out of them.

    Attributes:
      fields: Meaning of inputs and targets.
      train: Training examples.
      test: The test set; None: a fixed fifth of `train`.
      validation: The validation set; None: held out of `train`.
    """

    fields: Fields
    train: Examples
    test: Examples | None = None
    validation: Examples | None = None


def load_source(name: str, folder: Path) -> Decoded:
    """Returns the data of a user's function after checks.

    Args:
      name: `module:function`; the function takes no arguments.
      folder: Folder of large arrays that are read from a source, see `new_array`.

    Raises:
      UserError: If the function does not exist or fails, or if its arrays do not match its fields.
    """
    make: Any = plugins.find("data.name", name, dict.fromkeys(_OURS))
    if not callable(make):
        raise UserError(
            "data.name", name, f"a function that returns a gpnas.data.Source, not {make!r}"
        )
    allowed = "a function that returns a gpnas.data.Source"
    source = plugins.call_user("data.name", name, allowed, make)
    if not isinstance(source, Source):
        allowed = f"a function that returns a gpnas.data.Source, not {type(source).__name__}"
        raise UserError("data.name", name, allowed)
    check_fields_complete(source.fields, "data.name", name)
    given = {"train": source.train, "test": source.test, "validation": source.validation}
    splits = {
        part: _split(f"{name}: {part}", source.fields, examples, folder)
        for part, examples in given.items()
        if examples is not None or part == "train"
    }
    shape = splits["train"].inputs.shape[1:]
    for part, split in splits.items():
        if split.inputs.shape[1:] != shape:
            allowed = f"inputs of the shape of train's, (n, {', '.join(map(str, shape))})"
            raise UserError("data.name", f"{name}: {part}", f"{allowed}; not {split.inputs.shape}")
    return Decoded(source.fields, splits, content_digest(source.fields, splits))


_OURS = ("fashion_mnist", "mnist", "cifar10", "digits", "folder:PATH", "csv:PATH", "text:PATH")


def _split(got: str, fields: Fields, examples: Examples, folder: Path) -> Split:
    """Converts examples to arrays of the types of their kinds; see `Source`."""
    allowed = "arrays, or a source of pairs (input, target)"
    with explained("data.name", got, allowed, Exception):
        pair = isinstance(examples, tuple) and len(examples) == 2
        given = examples if pair else _read(got, examples, folder)
        inputs, targets = (np.asarray(array) for array in given)
    if fields.targets == "value" and targets.ndim == 1:
        targets = targets[:, None]
    inputs = _cast(got, "inputs", inputs, INPUTS[fields.inputs])
    targets = _cast(got, "targets", targets, TARGETS[fields.targets])
    wrong = misfit(fields, inputs, targets)
    if wrong:
        raise UserError("data.name", got, wrong)
    _check_range(got, "inputs", inputs, fields.tokens)
    whole = fields.targets in ("class", "next")
    _check_range(got, "targets", targets, fields.outputs if whole else 0)
    return Split(inputs, targets)


def _read(got: str, source: Any, folder: Path) -> tuple[Array, Array]:
    """Reads all examples of a source into arrays, one by one."""
    n = len(source)
    if n == 0:
        raise UserError("data.name", got, "one example or more")
    first = [np.asarray(part) for part in _pair(got, 0, source[0])]
    arrays = [new_array(folder, (n, *part.shape), part.dtype) for part in first]
    for row in range(n):
        for array, part in zip(arrays, _pair(got, row, source[row]), strict=True):
            value = np.asarray(part)
            if value.shape != array.shape[1:] or value.dtype != array.dtype:
                allowed = f"examples of one shape and type ({array.shape[1:]}, {array.dtype})"
                raise UserError(
                    "data.name",
                    got,
                    f"{allowed}; not {value.shape}, {value.dtype} in example {row}",
                )
            array[row] = value
    return arrays[0], arrays[1]


def _pair(got: str, row: int, example: Any) -> tuple[Any, Any]:
    """Returns an example of a source if it is a pair."""
    if not isinstance(example, tuple | list) or len(example) != 2:
        allowed = f"pairs (input, target), not {type(example).__name__} in example {row}"
        raise UserError("data.name", got, allowed)
    return example[0], example[1]


def _cast(got: str, part: str, array: Array, kind: Any) -> Array:
    """Converts an array to the type of its kind, without a copy if it has that type.

    Raises:
      UserError: If its type cannot be converted, or values are not finite in float32.
    """
    if array.dtype == kind.dtype and array.dtype.isnative:
        cast = array
    elif array.dtype.kind in kind.given and array.dtype.kind:
        with np.errstate(over="ignore"):
            cast = array.astype(kind.dtype)
        if np.issubdtype(kind.dtype, np.integer) and array.size and not _same_range(array, cast):
            raise UserError("data.name", got, f"{part} of {np.dtype(kind.dtype).name} values")
    else:
        allowed = f"{part} of {kind.text}, not {array.dtype}, {array.shape}"
        raise UserError("data.name", got, allowed)
    if kind.dtype == np.float32:
        for start, rows in enumerate(row_blocks(cast)):
            if not np.isfinite(rows).all():
                first = start * len(next(iter(row_blocks(cast)))) + int(
                    np.argwhere(~np.isfinite(rows))[0][0]
                )
                allowed = f"{part} that are finite in float32; example {first} has others"
                raise UserError("data.name", got, allowed)
    return cast


def _same_range(array: Array, cast: Array) -> bool:
    return int(array.min()) == int(cast.min()) and int(array.max()) == int(cast.max())


def _check_range(got: str, part: str, array: Array, count: int) -> None:
    """Checks that integers are from 0 to `count` - 1; 0 for no limit."""
    if count and (array.min() < 0 or array.max() >= count):
        worst = int(array.min()) if array.min() < 0 else int(array.max())
        raise UserError("data.name", got, f"{part} from 0 to {count - 1}, not {worst}")
