"""gpnas: neural architecture search by growing and pruning, coupled, in one training run.

Rooms, from the bottom up (imports run this way only):

* `gpnas.masks`: pure mask transforms on parameter pytrees, the heart.
* `gpnas.units`: what a network costs, per leaf and over a schedule.
* `gpnas.methods`: the methods of the literature, each a short composition.
* `gpnas.models`, `gpnas.data`: plain Flax networks; images as arrays.
* `gpnas.train`: one train step that carries the masks, and the loop around it.
* `gpnas.report`: figures and pages from JSON records.
"""

__version__ = "0.1.0"
