"""Data as NumPy arrays: images, tables, texts, or your own arrays; checked and split::

    from gpnas import data

    ds = data.load("fashion_mnist")
    ds.train.inputs.shape  # (54000, 28, 28, 1)

`docs/data.md` describes how a data set is found, where it is stored and what is checked.
`gpnas.data.augment` augments training batches on the device.
"""

from gpnas.data import image_files
from gpnas.data._dataset import Dataset, Split, require_kind, standardize, subset
from gpnas.data._fields import Fields
from gpnas.data._loader import load
from gpnas.data._own import Source

__all__ = [
    "Dataset", "Fields", "Source", "Split", "augment", "image_files", "load", "require_kind",
    "standardize", "subset",
]  # fmt: skip
