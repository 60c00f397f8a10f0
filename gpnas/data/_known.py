"""Constants of three data sets: shapes, names, checksums, and addresses."""

import dataclasses
from collections.abc import Mapping

# Parts of a data set, in the order of storage and hashing.
PARTS = ("train_images", "train_labels", "test_images", "test_labels")

_IDX_FILES = {
    "train_images": ("train-images-idx3-ubyte",),
    "train_labels": ("train-labels-idx1-ubyte",),
    "test_images": ("t10k-images-idx3-ubyte",),
    "test_labels": ("t10k-labels-idx1-ubyte",),
}
_CIFAR_FILES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}


_CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip
_CIFAR_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class KnownDataset:
    """A data set whose official raw files are supported.

    Attributes:
      name: Name in TFDS.
      shape: Height, width, channels.
      rows: Number of images in `train` and `test`.
      class_names: Class names by label.
      layout: `idx` (four files) or `cifar` (binary batches, or their archive).
      files: File names of each part, without `.gz`.
      sha256: For `idx`, SHA-256 of each file's uncompressed content; for `cifar`, of the archive.
      address: Address of the official files, without file names.
      train_mean: For `cifar`, the channel means of `train`, 0 to 255.
      debian_package: Debian package of the data set, if one exists.
      debian_folder: Folder into which that package installs the files.
    """

    name: str
    shape: tuple[int, int, int]
    rows: Mapping[str, int]
    class_names: tuple[str, ...]
    layout: str
    files: Mapping[str, tuple[str, ...]]
    sha256: Mapping[str, str]
    address: str
    train_mean: tuple[float, ...] = ()
    debian_package: str | None = None
    debian_folder: str | None = None

    @property
    def pinned(self) -> bool:
        """Whether checksums determine the decoded content for every source."""
        return self.layout == "idx"


CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"

KNOWN: dict[str, KnownDataset] = {
    "mnist": KnownDataset(
        name="mnist",
        shape=(28, 28, 1),
        rows={"train": 60_000, "test": 10_000},
        class_names=tuple(str(digit) for digit in range(10)),
        layout="idx",
        files=_IDX_FILES,
        sha256={
            "train_images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train_labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "test_images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "test_labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        address="https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion_mnist": KnownDataset(
        name="fashion_mnist",
        shape=(28, 28, 1),
        rows={"train": 60_000, "test": 10_000},
        class_names=_CLOTHES,
        layout="idx",
        files=_IDX_FILES,
        sha256={
            "train_images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train_labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "test_images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "test_labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        address="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        debian_package="dataset-fashion-mnist",
        debian_folder="/usr/share/datasets/fashion-mnist",
    ),
    "cifar10": KnownDataset(
        name="cifar10",
        shape=(32, 32, 3),
        rows={"train": 50_000, "test": 10_000},
        class_names=_CIFAR_CLASSES,
        layout="cifar",
        files=_CIFAR_FILES,
        sha256={CIFAR_ARCHIVE: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
        address="https://www.cs.toronto.edu/~kriz/",
        train_mean=(125.30691805, 122.95039414, 113.86538318),
    ),
}
