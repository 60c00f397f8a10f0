"""LeNet-300-100 on MNIST with the recipes of papers and their code, 200 epochs where known.

    python experiments/reproduce.py "sparse VD unremoved"

Sparse VD removes no weights in training and starts with a trained network; the divergence is ramped
up between epochs 5 and 20. L0 evaluates an average of its weights, uses weight decay, and trains on
all but ten of the 60,000 images; "by layer" has the penalties of "L0" in the study lenet300.
"Sensitivity per example" averages absolute values over the batch;
its other settings are those of "sensitivity 103×" in the study lenet300. NPN and a dense network
have NPN's optimizer, Adam at a constant rate; "NPN with SGD" has the recipe of the other arms. The
paper of NPN has 500 epochs, for LeNet-5 (`--budget=paper`).
"""

from ml_collections import ConfigDict

from configs import dense, l0, npn_sparsify, sensitivity, sparse_vd
from experiments.studies.lenet300.config import LOOP
from experiments.studies.recipes import mnist, same_recipe
from gpnas.train import study

_NETWORKS = "experiments.studies.as_published.networks"


def get_config() -> ConfigDict:
    """Returns the arms by name."""
    arms = {
        "sparse VD unremoved": mnist(sparse_vd, 200, remove=False),
        "sparse VD unremoved 0–1": mnist(sparse_vd, 200, remove=False),
        "L0 averaged": mnist(l0, 200, penalties=(0.1,), decay=5e-4),
        "L0 averaged by layer": mnist(l0, 200, penalties=(0.2, 0.5, 2.5), decay=5e-4),
        "sensitivity per example": mnist(
            sensitivity, 150, density=0.0097, patience=1, kind="unspecified_per_example", **LOOP
        ),
        "dense with Adam": mnist(dense, 200),
        "NPN with Adam": mnist(npn_sparsify, 200),
        "NPN with SGD": mnist(npn_sparsify, 200),
    }
    same_recipe(arms["sensitivity per example"])
    arms["sparse VD unremoved"].train.init_from = f"{_NETWORKS}:trained"
    unit = arms["sparse VD unremoved 0–1"]
    unit.model.name, unit.train.init_from = f"{_NETWORKS}:UnitPixels", f"{_NETWORKS}:trained_unit"
    for arm in ("L0 averaged", "L0 averaged by layer"):
        arms[arm].optimizer.ema = 0.999
        arms[arm].data.validation = 10 / 60_000
    own = arms["NPN with Adam"].optimizer
    arms["dense with Adam"].optimizer = own.copy_and_resolve_references()
    arms["NPN with SGD"].optimizer = dense.get_config().optimizer
    same_recipe(arms["NPN with SGD"])
    arms["NPN with SGD"].gates.update(name="adam", learning_rate=own.learning_rate)
    return study("as_published", arms, densities=())
