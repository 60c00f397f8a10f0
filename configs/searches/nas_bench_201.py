"""A search in a table: regularized evolution on NAS-Bench-201, by the error after 12 epochs.

    gpnas search --config=searches/nas_bench_201 --workdir=runs/search

Another strategy: `--config.strategy="{'name': 'lanas'}"`, and another workdir.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """What to search, and how."""
    config = ConfigDict()
    config.space = "nas_bench_201"  # or nas_bench_macro, or table:FILE with your own CSV
    config.columns = 0  # for your own table: number of leading columns that are choices
    config.objectives = ("cifar10_validation_12",)  # metrics, all minimised
    config.reports = ("cifar10_test_200",)  # reported, not used by the search
    config.strategy = ConfigDict({"name": "evolution"}, type_safe=False)  # and its fields
    config.evaluations = 200  # number of distinct architectures
    config.failures = 20  # consecutive failures that end the search
    config.seed = 0
    return config
