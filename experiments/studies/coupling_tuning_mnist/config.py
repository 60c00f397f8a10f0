"""The study `coupling_tuning_confirmation` on MNIST.

The same arms, values and seeds.

    python experiments/reproduce.py coupling_tuning_mnist
"""

from ml_collections import ConfigDict

from experiments.studies.coupling_tuning_confirmation.config import tuning_on


def get_config() -> ConfigDict:
    """Returns one arm per setting; after the @: density and weight decay."""
    return tuning_on("coupling_tuning_mnist", "mnist")
