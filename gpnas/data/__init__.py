"""Image classification data as NumPy arrays: fetched once, checked, decoded once, memory-mapped.

    from gpnas import data

    ds = data.load("fashion_mnist")
    ds.train.images.shape  # (54000, 28, 28, 1)

How a set is found, where it is kept and what is checked: `docs/data.md`. Augmentation of training
batches on the device: `gpnas.data.augment`.
"""

from gpnas.data import pictures
from gpnas.data._dataset import Dataset, Split, standardize
from gpnas.data._loader import load

__all__ = ["Dataset", "Split", "augment", "load", "pictures", "standardize"]
