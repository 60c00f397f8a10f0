"""What mask updates do: survival of grown weights, the final mask alone, receptive fields.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left, 10 seeds not used by `coupling`;
validation errors only. About 20 minutes on one CPU core.

    python experiments/reproduce.py coupling_mechanism
"""

from ml_collections import ConfigDict

ARMS = (
    "development", "magnitude and gradient", "random growth", "GraNet matched",
    "GMP sparse start",
)  # fmt: skip


def get_config() -> ConfigDict:
    """Returns the arms of `coupling`, density, seeds and ages."""
    return ConfigDict({
        "study": "coupling_mechanism",
        "arms": ARMS,
        "density": 0.02,
        "seeds": tuple(range(220, 230)),
        "ages": (1, 2, 5, 10, 20),  # mask updates since growth at which survival is measured
        "age": 5,  # mask updates between growth and its evaluation by U
        "retrained": ("development", "GraNet matched", "GMP sparse start"),  # arms
    })  # fmt: skip
