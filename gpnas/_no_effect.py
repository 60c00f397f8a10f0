"""Fields of a run's config that do not affect its results."""

#: Fields that may also differ between the processes of a run: each machine has its own data, only
#: process 0 writes results, and `train.feed` is compared as the steps it streams.
OF_A_PROCESS = (
    "analysis", "data.raw_dir", "data.data_dir", "data.cache_dir", "data.download",
    "train.tensorboard", "train.feed",
)  # fmt: skip
#: All fields without an effect on results, by dotted path.
NO_EFFECT = (
    *OF_A_PROCESS, "resume", "train.keep", "train.keep_epochs", "train.keep_best",
    "train.profile", "train.shard_min_size", "train.checkpoint_seconds", "elastic_min_flops",
)  # fmt: skip


def without_effect(path: str) -> bool:
    """Returns whether a field, or the section that it is in, affects no result."""
    return any(f"{path}.".startswith(f"{field}.") for field in NO_EFFECT)
