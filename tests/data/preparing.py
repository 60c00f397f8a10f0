"""Prepared TFDS data of small sets, without TensorFlow: what TFDS's own build would write."""

import io

import tensorflow_datasets as tfds
from array_record.python import array_record_module
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

from gpnas.data._prepared import tfds_order


def prepare(known, train, test, data_dir, version="3.0.1"):
    """Writes a set to `<data_dir>/<name>/<version>`; returns that folder."""
    folder = data_dir / known.name / version
    folder.mkdir(parents=True)
    splits = {"train": train, "test": test}
    sizes = {}
    for name, split in splits.items():
        path = folder / f"{known.name}-{name}.array_record-00000-of-00001"
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        records = [record(known, name, split, index) for index in tfds_order(name, len(split))]
        for one in records:
            writer.write(one)
        writer.close()
        sizes[name] = sum(map(len, records))
    write_metadata(folder, known, splits, sizes, version)
    return folder


def record(known, name, split, index):
    """An example as a serialised `tf.train.Example`."""

    def of_bytes(value):
        return tf_feature_pb2.Feature(bytes_list=tf_feature_pb2.BytesList(value=[value]))

    label = tf_feature_pb2.Int64List(value=[int(split.targets[index])])
    features = {
        "image": of_bytes(png(split.inputs[index])),
        "label": tf_feature_pb2.Feature(int64_list=label),
    }
    if known.layout == "cifar":
        features["id"] = of_bytes(f"{name}_{index:05d}".encode())
    return tf_example_pb2.Example(
        features=tf_feature_pb2.Features(feature=features)
    ).SerializeToString()


def png(image):
    """An image, uint8, (H, W, 1 or 3), as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def write_metadata(folder, known, splits, sizes, version):
    """Writes `dataset_info.json`, `features.json` and the names of the classes."""
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
    features = {
        "image": tfds.features.Image(shape=known.shape),
        "label": tfds.features.ClassLabel(names=list(known.class_names)),
    }
    if known.layout == "cifar":
        features["id"] = tfds.features.Text()
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=tfds.features.FeaturesDict(features),
        split_infos=infos,
        version=version,
        check_data=False,
        supervised_keys=("image", "label"),
    )
