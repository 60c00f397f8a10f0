"""Reports: records of runs into tables, figures and one HTML page.

Reads JSON only, so that a report can be made anywhere, of runs that finished and of runs that were
killed.

    loaded = read_runs(["results/mnist_lenet"])
    print(text_table(loaded))
    write(loaded, "report.html")
"""

from gpnas.report.page import render
from gpnas.report.read import Loaded, Receptive, Run, read_runs
from gpnas.report.write import markdown_table, text_table, write

__all__ = [
    "Loaded",
    "Receptive",
    "Run",
    "markdown_table",
    "read_runs",
    "render",
    "text_table",
    "write",
]
