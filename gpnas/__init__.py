"""gpnas: neural architecture search by growing and pruning, coupled, in one training run.

Packages, from the bottom up; each imports only those above it in this list:

* `gpnas.masks`: pure mask transforms on parameter pytrees.
* `gpnas.units`: neurons, channels and heads of traced functions; what a network costs.
* `gpnas.gates`: forward passes with noise or gates whose parameters are trained.
* `gpnas.sensitivity`: how outputs depend on weights and neurons, and regularizers built on it.
* `gpnas.methods`: the methods of the literature, each a short composition of the above.
* `gpnas.models`: plain Flax networks, no mask inside.
* `gpnas.data`: data sets as memory-mapped arrays.
* `gpnas.train`: one train step that carries the masks, the loop around it, and studies.
* `gpnas.search`: search spaces, and strategies as functions of the trial history.
* `gpnas.deploy`: trained networks as files, without their inactive units.
* `gpnas.report`: figures and pages from JSON records; imports neither JAX nor the rest.

`gpnas.slim` makes a trained network smaller, in one call. Modules beside the packages serve command
lines and studies of your own: `commandline`, `errors`, `plugins`, `provenance`, `records`,
`sections` (of configs) and `timing`. `gpnas.configs` has the configs that come with gpnas, and
`gpnas.commands` the command lines; in the repository they are links to configs/ and experiments/.
"""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`gpnas.slim`, loaded on demand: it needs every package but `search` and `report`."""
    if name == "slim":
        from gpnas.deploy.slim import slim

        return slim
    raise AttributeError(f"module 'gpnas' has no attribute {name!r}")
