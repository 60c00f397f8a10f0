"""Classification of image files."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from gpnas._files import PathLike, printable
from gpnas.data import image_files, require_kind
from gpnas.deploy._describe import Description, description_of, read_description
from gpnas.deploy._runtimes import Run, load_described
from gpnas.deploy._saved import on_pixels
from gpnas.errors import UserError
from gpnas.train import build_model, load_run

_BATCH = 64
_ONE_LINE = str.maketrans("\r\n\t", "   ")


class Predictor(NamedTuple):
    """A trained network with its metadata.

    Attributes:
      run: Pixels (batch, height, width, channels), float32, to logits (batch, classes).
      description: Class names and image shape.
    """

    run: Run
    description: Description


class Prediction(NamedTuple):
    """The prediction for one image.

    Attributes:
      image: Path of the file.
      classes: The most probable classes and their probabilities, in descending order.
    """

    image: pathlib.Path
    classes: tuple[tuple[str, float], ...]


def from_run(workdir: PathLike, network: str = "selected") -> Predictor:
    """Loads the network of a finished run and its data set, which defines the standardization.

    Args:
      workdir: Folder of the run.
      network: "selected" on the validation examples, or "last".

    Raises:
      UserError: As for `gpnas.train.load_run`, or if the data are not images with classes.
    """
    run = load_run(workdir, network)
    require_kind(run.data, inputs=("image",), targets=("class",))
    model = build_model(run.config.model, run.data.num_classes)
    apply = jax.jit(on_pixels(model.infer, run.data.mean, run.data.std))
    return Predictor(
        lambda images: np.asarray(apply(run.variables, images)),
        description_of(run.data.class_names, run.data.num_classes, run.data.input_shape),
    )


def from_file(path: PathLike) -> Predictor:
    """Loads the network of an exported file.

    Args:
      path: The file.

    Raises:
      UserError: As for `load_exported`, or if the file has no description.
    """
    path = pathlib.Path(path)
    run, metadata = load_described(path)
    path = path.with_suffix(".json") if path.suffix == ".safetensors" else path
    return Predictor(run, read_description(path, metadata))


def find_images(paths: Sequence[PathLike]) -> list[pathlib.Path]:
    """Finds image files, in folders recursively; numbers in names are sorted numerically.

    Hidden files and folders below the given ones are ignored.

    Args:
      paths: Files and folders.

    Raises:
      UserError: If a path does not exist, or a folder contains no image.
    """
    found: list[pathlib.Path] = []
    for path in map(pathlib.Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        below = [
            one
            for one in path.rglob("*")
            if image_files.is_image(one)
            and not any(part[0] == "." for part in one.relative_to(path).parts)
        ]
        if not below:
            raise UserError(
                "images", str(path), f"a folder with images: {', '.join(image_files.SUFFIXES)}"
            )
        found.extend(sorted(below, key=lambda one: (str(one.parent), image_files.name_order(one))))
    if not found:
        raise UserError("images", "", "image files or folders, with commas between them")
    for path in found:
        if not path.is_file():
            raise UserError("images", str(path), "an image or a folder that exists")
    return found


def predict(predictor: Predictor, paths: Sequence[PathLike], top: int = 3) -> Iterator[Prediction]:
    """Predicts the classes of images, which are decoded and resized as in training.

    Args:
      predictor: The network.
      paths: Image files.
      top: Number of classes per prediction.

    Raises:
      UserError: If an image cannot be read, `top` is below 1, or the network does not match its
        description.
    """
    names, shape = predictor.description
    if top < 1:
        raise UserError("top", top, "a whole number of 1 or more")
    for start in range(0, len(paths), _BATCH):
        part = [pathlib.Path(path) for path in paths[start : start + _BATCH]]
        images = [
            image_files.resize_image(
                image_files.read(path, shape[2], "images"), (shape[0], shape[1])
            )
            for path in part
        ]
        logits = predictor.run(np.stack(images).astype(np.float32)).astype(np.float64)
        if logits.shape[1:] != (len(names),):
            raise UserError("file", logits.shape[1], f"a network of {len(names)} outputs")
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        for path, row in zip(part, shifted / shifted.sum(-1, keepdims=True), strict=True):
            order = np.argsort(-row, kind="stable")[:top]
            yield Prediction(path, tuple((names[i], float(row[i])) for i in order))


def to_line(prediction: Prediction) -> str:
    """Returns path, class names and probabilities as one printable line."""
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in prediction.classes)
    return printable(f"{prediction.image}: {shares}").translate(_ONE_LINE)
