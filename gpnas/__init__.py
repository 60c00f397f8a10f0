"""gpnas: neural architecture search by coupled growth and pruning in one training run.

Packages, bottom-up; each imports only those above it in this list:

* `gpnas.masks`: pure mask transforms on parameter pytrees.
* `gpnas.units`: neurons, channels and heads of traced functions; costs of networks.
* `gpnas.gates`: forward passes with noise or gates with trained parameters.
* `gpnas.sensitivity`: sensitivity of outputs to weights and neurons, and regularizers based on it.
* `gpnas.methods`: the methods of the literature, each a short composition of the above.
* `gpnas.models`: plain Flax networks without masks.
* `gpnas.data`: data sets as memory-mapped arrays.
* `gpnas.train`: the train step with masks, the training loop, and studies.
* `gpnas.search`: search spaces, and strategies as functions of the trial history.
* `gpnas.deploy`: export of trained networks without their inactive units.
* `gpnas.report`: figures and pages from JSON records; imports neither JAX nor the rest.

`gpnas.slim` makes a trained network smaller in one call. Modules beside the packages are for your
own command lines and studies: `commandline`, `errors`, `plugins`, `provenance`, `records`,
`sections` (of configs) and `timing`. `gpnas.configs` has the configs shipped with gpnas, and
`gpnas.commands` the command lines; in the repository they are links to configs/ and experiments/.
"""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Loads `gpnas.slim` on demand, since it imports every package but `search` and `report`."""
    if name == "slim":
        from gpnas.deploy.slim import slim

        return slim
    raise AttributeError(f"module 'gpnas' has no attribute {name!r}")
