"""The data set of a config."""

from ml_collections import ConfigDict

from gpnas.data import Dataset, load
from gpnas.errors import UserError
from gpnas.train.task import TARGET_KINDS


def load_data(config: ConfigDict) -> Dataset:
    """Loads the data set of a config; its task determines the kind of a table's targets.

    Args:
      config: The config of a run.

    Raises:
      UserError: If it cannot be loaded.
    """
    c = config.data
    kind = c.target_kind
    if not kind and c.name.startswith("csv:") and "task" in config:
        kind = TARGET_KINDS.get(config.task.name)
        if kind == "next":
            allowed = f"classification, regression, multilabel or your own, for the table {c.name}"
            raise UserError("task.name", config.task.name, allowed)
    return load(
        c.name,
        raw_dir=c.raw_dir or None,
        data_dir=c.data_dir or None,
        cache_dir=c.cache_dir or None,
        validation=c.validation,
        seed=c.seed,
        image_size=c.image_size or None,
        download=c.download,
        target=c.target,
        target_kind=kind or None,
        length=c.length,
    )
