"""Raw data to prepared TFDS data, without TensorFlow.

The records equal those of TFDS's own build: the same features, in the same order, so
`tfds.data_source(name, data_dir=...)` and every other reader of array_record data take them.
"""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from absl import logging

from gpnas import _locks
from gpnas.data import _storage
from gpnas.data._dataset import Split
from gpnas.data._known import Known
from gpnas.errors import UserError

# Fastest of zlib: twice as fast as the default, a few per cent larger.
_PNG_LEVEL = 1


def tfds_order(split: str, n: int) -> npt.NDArray[np.intp]:
    """The order in which TFDS stores n examples whose keys are 0 … n-1.

    TFDS sorts by the MD5 of the split's name followed by the key.

    Args:
      split: `train` or `test`.
      n: Number of examples.

    Returns:
      intp, (n,): entry p is the official index of the record at position p.
    """
    digests = [hashlib.md5(f"{split}{key}".encode()).digest() for key in range(n)]
    return np.array(sorted(range(n), key=digests.__getitem__), np.intp)


def prepare(known: Known, train: Split, test: Split, data_dir: Path) -> Path:
    """Writes a set as prepared TFDS data, whole or not at all.

    Args:
      known: What it is.
      train: Official train set in official order.
      test: Official test set in official order.
      data_dir: Where; the set goes to `<data_dir>/<name>/<version>`.

    Returns:
      That folder. If it is there already, it is left as it is.

    Raises:
      UserError: The place cannot be written.
    """
    final = data_dir / known.name / known.version
    with _locks.locked(data_dir / f".{known.name}.lock", field="data.data_dir"):
        if final.exists():
            return final
        with _storage.new_folder(final.parent, field="data.data_dir") as folder:
            splits = {"train": train, "test": test}
            sizes = {
                name: _write_records(folder / _file_name(known, name), known, name, split)
                for name, split in splits.items()
            }
            _write_metadata(folder, known, splits, sizes)
            if not _storage.publish(folder, final):
                raise UserError("data.data_dir", str(final), "a folder that is not there yet")
    logging.info("prepared %s in %s", known.name, final)
    return final


def _file_name(known: Known, split: str) -> str:
    """The one shard of a split, as TFDS names it."""
    return f"{known.name}-{split}.array_record-00000-of-00001"


def _write_records(path: Path, known: Known, name: str, split: Split) -> int:
    """Writes the examples of a split in TFDS's order; returns the number of bytes."""
    from array_record.python import array_record_module

    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
    size = 0
    for record in _records(known, name, split):
        writer.write(record)
        size += len(record)
    writer.close()
    return size


def _records(known: Known, name: str, split: Split) -> Iterator[bytes]:
    """Serialises the examples of a split as `tf.train.Example`, in TFDS's order."""
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    for index in tfds_order(name, len(split)):
        features = {
            "image": tf_feature_pb2.Feature(
                bytes_list=tf_feature_pb2.BytesList(value=[_png(split.inputs[index])])
            ),
            "label": tf_feature_pb2.Feature(
                int64_list=tf_feature_pb2.Int64List(value=[int(split.targets[index])])
            ),
        }
        if known.layout == "cifar":
            text = f"{name}_{index:05d}".encode()
            features["id"] = tf_feature_pb2.Feature(
                bytes_list=tf_feature_pb2.BytesList(value=[text])
            )
        example = tf_example_pb2.Example(features=tf_feature_pb2.Features(feature=features))
        yield example.SerializeToString()


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    """Encodes a picture, uint8, (H, W, 1 or 3)."""
    from PIL import Image

    buffer = io.BytesIO()
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()


def _write_metadata(
    folder: Path, known: Known, splits: dict[str, Split], sizes: dict[str, int]
) -> None:
    """Writes `dataset_info.json`, `features.json` and the names of the classes."""
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=known.name, filetype_suffix="array_record"
    )
    infos = [
        tfds.core.SplitInfo(
            name=name,
            shard_lengths=[len(split)],
            num_bytes=sizes[name],
            filename_template=template.replace(split=name),
        )
        for name, split in splits.items()
    ]
    features: dict[str, Any] = {
        "image": tfds.features.Image(shape=known.shape),
        "label": tfds.features.ClassLabel(names=list(known.class_names)),
    }
    if known.layout == "cifar":
        features["id"] = tfds.features.Text()
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=tfds.features.FeaturesDict(features),
        split_infos=infos,
        version=known.version,
        check_data=False,
        description=known.description,
        homepage=known.homepage,
        supervised_keys=("image", "label"),
    )
