"""A front on CIFAR-10."""

import functools

from experiments.studies.front import sections_of_errors, shorten
from experiments.studies.front.run import run
from experiments.studies.front_cifar10.config import get_config
from experiments.studies.study import Study

STUDY = Study(
    get_config,
    run,
    functools.partial(sections_of_errors, "front_cifar10"),
    "front.md",
    shorten=shorten,
)
