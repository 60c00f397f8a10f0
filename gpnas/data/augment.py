"""Augmentation of training batches on the device: pure functions, composed from a text::

    from gpnas.data import augment

    f = augment.parse("pad_crop(4)|flip_lr|mixup(0.2)", (images, labels), num_classes=10)
    images, targets = f(augment.image_keys(key, len(images)), images, labels)

An augmentation is a function `(keys, images, targets, …settings) → (images, targets)`:

* `keys`, (batch,), one random key per image, so that the random numbers of an image depend neither
  on the number of devices nor on the grouping of steps;
* `images`, (batch, height, width, channels) float32, standardized (`gpnas.data.standardize`); zero,
  the fill value of `pad_crop` and `cutout`, is the channel mean of the training images;
* `targets`, (batch,) int32 labels or (batch, classes) float32 probabilities.

Settings come from the text and are checked against their annotations. A parameter `num_classes`
receives the number of classes. A parameter `axis_name` receives the `pmap` axis over which the
batch is sharded, or None.
"""

import ast
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas import plugins
from gpnas.errors import UserError, explained
from gpnas.plugins import In

#: `(keys, images, targets) → (images, targets)`.
Augmentation = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]

_FIELD = "data.augment"
_NONE = ("", "none")  # command lines have no empty values
_GIVEN = ("num_classes", "axis_name")  # settings that do not come from the text
_STAGE = re.compile(r"([\w.]+(?::[\w.]+)?)\s*(?:\((.*)\))?", re.DOTALL)


def image_keys(key: jax.Array, count: int, first: int | jax.Array = 0) -> jax.Array:
    """Returns random keys of images, (count,).

    Args:
      key: Key of the step.
      count: Number of images.
      first: Position of the first image in the global batch, () int32.
    """
    return jax.vmap(functools.partial(jax.random.fold_in, key))(first + jnp.arange(count))


def pad_crop(
    keys: jax.Array, images: jax.Array, targets: jax.Array, pixels: Annotated[int, In(1)]
) -> tuple[jax.Array, jax.Array]:
    """Pads each side with zeros, then crops to the original size at a random position.

    Args:
      keys: (batch,).
      images: (batch, height, width, channels).
      targets: Of any shape; returned unchanged.
      pixels: Width of the padding, less than the sides of the images.

    Raises:
      UserError: If `pixels` is too large, or the inputs are not images.

    References:
      He et al. 2016 (arXiv:1512.03385), section 4.2.
    """
    *sides, channels = _image_shape("pad_crop", images)
    if pixels >= min(sides):
        raise UserError(_FIELD, f"pad_crop({pixels})", f"fewer pixels than {min(sides)}, the side")
    padded = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))

    def crop(key: jax.Array, image: jax.Array) -> jax.Array:
        row, column = jax.random.randint(key, (2,), 0, 2 * pixels + 1)
        return jax.lax.dynamic_slice(image, (row, column, jnp.int32(0)), (*sides, channels))

    return jax.vmap(crop)(keys, padded), targets


def flip_lr(keys: jax.Array, images: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mirrors each image horizontally with probability 1/2.

    Args:
      keys: (batch,).
      images: (batch, height, width, channels).
      targets: Of any shape; returned unchanged.

    Raises:
      UserError: If the inputs are not images.
    """
    _image_shape("flip_lr", images)
    flipped = jax.vmap(jax.random.bernoulli)(keys)
    return jnp.where(_per_image(flipped, images), jnp.flip(images, 2), images), targets


def cutout(
    keys: jax.Array, images: jax.Array, targets: jax.Array, size: Annotated[int, In(1)]
) -> tuple[jax.Array, jax.Array]:
    """Sets a square around a random pixel to zero; the square is clipped at the borders.

    Args:
      keys: (batch,).
      images: (batch, height, width, channels).
      targets: Of any shape; returned unchanged.
      size: Side of the square in pixels, at most the sides of the images.

    Raises:
      UserError: If `size` is too large, or the inputs are not images.

    References:
      DeVries & Taylor 2017 (arXiv:1708.04552).
    """
    *sides, _ = _image_shape("cutout", images)
    if size > min(sides):
        raise UserError(_FIELD, f"cutout({size})", f"a size of at most {min(sides)}, the side")

    def outside(key: jax.Array) -> jax.Array:
        rows, columns = (
            (jnp.arange(side) >= start) & (jnp.arange(side) < start + size)
            for side, start in zip(
                sides, jax.random.randint(key, (2,), 0, jnp.array(sides)) - size // 2, strict=True
            )
        )
        return ~(rows[:, None] & columns[None, :])

    return jnp.where(jax.vmap(outside)(keys)[..., None], images, 0.0), targets


def mixup(
    keys: jax.Array,
    images: jax.Array,
    targets: jax.Array,
    alpha: Annotated[float, In(0, open="low")],
    *,
    num_classes: int,
    axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Mixes each image and its targets with the previous image in the batch.

    The weight of an image is max(λ, 1 − λ), λ ~ Beta(alpha, alpha). In a shuffled batch the mixed
    pairs have the same distribution as with λ, and the largest target is that of the image itself.

    Args:
      keys: (batch,).
      images: (batch, …).
      targets: (batch,) int, or (batch, …) bool or float.
      alpha: Parameter of the Beta distribution; small values mix few images.
      num_classes: Number of classes of integer targets.
      axis_name: `pmap` axis over which the batch is sharded.

    Returns:
      Images, and targets, (batch, num_classes) float32 if they were integers.

    Raises:
      UserError: If targets are integers of more than one axis, such as tokens.

    References:
      Zhang et al. 2018 (arXiv:1710.09412).
    """
    targets = _soft(targets, num_classes)
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        raise UserError(_FIELD, "mixup", f"for targets that can be mixed; not {_said(targets)}")
    drawn = jax.vmap(lambda key: jax.random.beta(key, alpha, alpha))(keys)
    weight = jnp.maximum(drawn, 1 - drawn)

    def mix(x: jax.Array) -> jax.Array:
        share = _per_image(weight, x)
        return share * x + (1 - share) * _previous(x, axis_name)

    return mix(images), mix(targets)


AUGMENTATIONS: Mapping[str, Callable[..., Any]] = {
    "pad_crop": pad_crop,
    "flip_lr": flip_lr,
    "cutout": cutout,
    "mixup": mixup,
}


def parse(
    text: str, batch: tuple[Any, Any], num_classes: int, axis_name: str | None = None
) -> Augmentation:
    """Composes augmentations from a text.

    Args:
      text: Names with settings, applied from left to right: `pad_crop(4)|flip_lr`. A name is a key
        of `AUGMENTATIONS` or a user's `module:function`. Settings are Python literals, positional
        or by name. "" and "none" leave images and targets unchanged.
      batch: Images and targets before augmentation, or their `jax.ShapeDtypeStruct`, for the
        checks.
      num_classes: Number of classes.
      axis_name: `pmap` axis over which the batch is sharded.

    Returns:
      `(keys, images, targets) → (images, targets)`. Each augmentation has its own random keys.

    Raises:
      UserError: If a name or a setting is invalid, or if an augmentation does not return images of
        the same shape and dtype, and unchanged targets or class probabilities.
    """
    given = {"num_classes": num_classes, "axis_name": axis_name}
    parts = [] if text in _NONE else text.split("|")
    stages = [_stage(part.strip(), given) for part in parts]
    _check_shapes(stages, batch, num_classes, axis_name)

    def apply(
        keys: jax.Array, images: jax.Array, targets: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        for number, stage in enumerate(stages):
            own = jax.vmap(functools.partial(jax.random.fold_in, data=number))(keys)
            images, targets = stage.function(own, images, targets)
        return images, targets

    return apply


def output_shapes(f: Augmentation, batch: tuple[Any, Any], axis_name: str | None = None) -> Any:
    """Returns the shapes and dtypes of the outputs of an augmentation.

    Args:
      f: The augmentation.
      batch: Images and targets, or their shapes.
      axis_name: As passed to `parse`.
    """
    images, targets = batch
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), images.shape[0]))
    if axis_name is not None:
        f = jax.vmap(f, None, None, axis_name=axis_name, axis_size=1)
    return jax.eval_shape(f, keys, images, targets)


class _Stage(NamedTuple):
    """One augmentation with its settings."""

    text: str
    function: Augmentation


def _stage(text: str, given: Mapping[str, Any]) -> _Stage:
    matched = _STAGE.fullmatch(text)
    if matched is None:
        raise UserError(_FIELD, text, "augmentations as in pad_crop(4)|flip_lr")
    name, arguments = matched.groups()
    function = plugins.find(_FIELD, name, AUGMENTATIONS)
    # Not callable, or without a signature.
    with explained(_FIELD, text, "a function of Python", TypeError, ValueError):
        parameters = plugins.parameters_of(function)
    if len(parameters) < 3:
        raise UserError(_FIELD, text, "a function of keys, images, targets, and its settings")
    names = list(parameters)[3:]
    settings = _settings(text, arguments or "", [one for one in names if one not in _GIVEN])
    try:
        given_names = (*list(parameters)[:3], *_GIVEN)
        settings = plugins.check_settings(_FIELD, name, function, settings, given_names)
    except UserError as error:
        setting = error.field.removeprefix(f"{_FIELD}.")
        raise UserError(_FIELD, text, f"for {setting}, {error.allowed}") from error

    known = {field: value for field, value in given.items() if field in names}
    return _Stage(text, functools.partial(function, **settings, **known))


def _settings(text: str, arguments: str, names: Sequence[str]) -> dict[str, Any]:
    """Parses settings as literals, by name; the text is never evaluated."""
    try:
        call = ast.parse(f"f({arguments})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise SyntaxError("unbalanced parentheses")
        if any(word.arg is None for word in call.keywords):
            raise SyntaxError("settings without a name")
        ordered = [ast.literal_eval(node) for node in call.args]
        named = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, TypeError, ValueError, MemoryError, RecursionError) as error:
        raise UserError(
            _FIELD, text, "settings that are literals of Python: (4), (size=8)"
        ) from error
    if len(ordered) > len(names):
        allowed = f"at most {len(names)} settings: {', '.join(names)}" if names else "no settings"
        raise UserError(_FIELD, text, allowed)
    found = dict(zip(names, ordered, strict=False))
    if twice := sorted(found.keys() & named.keys()):
        raise UserError(_FIELD, text, f"{twice[0]} once")
    return found | named


def _check_shapes(
    stages: Sequence[_Stage], batch: tuple[Any, Any], num_classes: int, axis_name: str | None
) -> None:
    """Traces each stage on the outputs of the previous ones."""
    images, targets = jax.eval_shape(lambda: jax.tree.map(jnp.zeros_like, batch))
    soft = jax.eval_shape(functools.partial(_soft, num_classes=num_classes), targets)
    for text, function in stages:
        with explained(_FIELD, text, "a function that can be traced", Exception):
            found = output_shapes(function, (images, targets), axis_name)
        said = [_said(x) for x in found] if isinstance(found, tuple | list) else [_said(found)]
        if said not in ([_said(images), _said(kind)] for kind in (targets, soft)):
            kept = f"images {_said(images)}, and targets {_said(targets)} or {_said(soft)}"
            raise UserError(_FIELD, text, f"one that returns {kept}; not {', '.join(said)}")
        targets = found[1]


def _said(x: Any) -> str:
    """Returns the shape and dtype of an array as text."""
    if not hasattr(x, "shape"):
        return f"a {type(x).__name__}"
    return f"({', '.join(map(str, x.shape))}) {x.dtype}"


def _image_shape(name: str, images: jax.Array) -> tuple[int, int, int]:
    """Returns (height, width, channels).

    Raises:
      UserError: If the inputs of the network are not images.
    """
    if images.ndim != 4:
        raise UserError(_FIELD, name, f"for images only; inputs are {_said(images)}")
    _, height, width, channels = images.shape
    return height, width, channels


def _soft(targets: jax.Array, num_classes: int) -> jax.Array:
    """Converts targets to float for averaging: class probabilities, or 0 and 1 for bool."""
    if jnp.issubdtype(targets.dtype, jnp.integer) and targets.ndim == 1:
        return jax.nn.one_hot(targets, num_classes, dtype=jnp.float32)
    return targets.astype(jnp.float32) if targets.dtype == bool else targets


def _per_image(x: jax.Array, like: jax.Array) -> jax.Array:
    """Reshapes (batch,) to (batch, 1, …), with as many axes as `like`."""
    return x.reshape(-1, *(1 for _ in like.shape[1:]))


def _previous(x: jax.Array, axis_name: str | None) -> jax.Array:
    """Returns for each row the previous one in the global batch; for the first, the last."""
    if axis_name is None:
        return jnp.roll(x, 1, 0)
    devices = jax.lax.axis_size(axis_name)
    ring = [(device, (device + 1) % devices) for device in range(devices)]
    return jnp.concatenate([jax.lax.ppermute(x[-1:], axis_name, ring), x[:-1]])
