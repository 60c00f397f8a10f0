"""Methods of the literature, each a few lines of `gpnas.masks`.

A method is a function with keyword arguments that returns a `Method`. One of your own needs one
file: write such a function anywhere and set `config.method.name = "your_module:your_function"`.
"""

from gpnas.methods.build import METHODS, build, by_units, find
from gpnas.methods.method import Method

__all__ = ["METHODS", "Method", "build", "by_units", "find"]
