"""The data set of a config."""

from ml_collections import ConfigDict

from gpnas.data import Dataset, load


def load_data(config: ConfigDict) -> Dataset:
    """The images of a config's `data` section.

    Raises:
      UserError: If they cannot be had.
    """
    c = config.data
    return load(
        c.name,
        raw_dir=c.raw_dir or None,
        data_dir=c.data_dir or None,
        cache_dir=c.cache_dir or None,
        validation=c.validation,
        seed=c.seed,
        image_size=c.image_size or None,
        download=c.download,
    )
