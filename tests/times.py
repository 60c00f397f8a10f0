"""Fields of records and of lines of metrics that differ between two runs of the same config."""

TIMES = (
    "wall_s", "images_per_s", "start_s", "compile_s", "data_s", "save_s", "lost_s", "seconds",
    "date", "git", "digest",
)  # fmt: skip
