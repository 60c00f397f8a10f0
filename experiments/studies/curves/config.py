"""LeNet-300-100 on MNIST at five densities: pruning at plateaus, with and without sensitivity.

Rows and claims of docs/reproducing.md for LOBSTER, SeReNe, PSP-entropy (gradual pruning, which is
the loop alone, against one-shot) and neural plasticity networks (five penalties), with GMP, random
masks and dense training. Three seeds, 50 epochs. About 80 minutes on one CPU core without the arms
"dense with Adam" and "NPN SGD".

"NPN" and "dense with Adam" have NPN's optimizer, Adam at a constant rate; "NPN SGD" and all other
arms have one recipe, and the gates of "NPN SGD" are trained by Adam at NPN's learning rate.

    python experiments/reproduce.py curves
"""

from ml_collections import ConfigDict

from configs import dense, gmp, lobster, npn_expand, npn_sparsify, one_shot, serene, static
from experiments.studies.papers import NPN_EPOCHS
from experiments.studies.recipes import mnist, same_recipe
from gpnas.train import study

EPOCHS = 50
_ANALYSES = (
    "gpnas.sensitivity.entropy:psp_entropy",
    "experiments.studies.curves.analyses:top_eigenvalue",
)
_PRICES = (0.1, 0.2, 0.4, 0.8, 1.6)
#: The arms of NPN, and the dense networks of their recipes.
PAPER_EPOCHS = dict.fromkeys(
    (
        *(f"{name}@{price:g}" for name in ("NPN", "NPN SGD") for price in _PRICES),
        *("NPN expand", "dense with Adam", "dense"),
    ),
    NPN_EPOCHS,
)
_LOOP = {"patience": 1, "rate": 1e-3, "tolerance": 0.25, "stop_at": 0.75}


def get_config() -> ConfigDict:
    """Returns the arms by name; a penalty follows the @."""
    arms = {
        "LOBSTER": mnist(lobster, EPOCHS, **_LOOP),
        "SeReNe": mnist(serene, EPOCHS, **_LOOP),
        "gradual": mnist(lobster, EPOCHS, **_LOOP | {"rate": 0.0}),
        "one-shot": mnist(one_shot, EPOCHS, at=0.5),
        "GMP": mnist(gmp, EPOCHS),
        "random": mnist(static, EPOCHS),
        "dense": mnist(dense, EPOCHS),
    }
    for arm in arms.values():
        arm.analysis = _ANALYSES
        same_recipe(arm)
    own = npn_sparsify.get_config().optimizer
    for price in _PRICES:
        arms[f"NPN@{price:g}"] = mnist(npn_sparsify, EPOCHS, penalties=(price,))
        arms[f"NPN SGD@{price:g}"] = sgd = mnist(npn_sparsify, EPOCHS, penalties=(price,))
        sgd.optimizer = dense.get_config().optimizer
        same_recipe(sgd)
        sgd.gates.update(name="adam", learning_rate=own.learning_rate)
    arms["dense with Adam"] = mnist(dense, EPOCHS)
    arms["dense with Adam"].optimizer = own
    arms["NPN expand"] = mnist(npn_expand, 2 * EPOCHS)
    return study("curves", arms, densities=(0.1, 0.05, 0.02, 0.01, 0.005), seeds=(0, 1, 2))
