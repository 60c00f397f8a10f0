"""Reports: turns records of runs into tables, figures and one HTML page.

Reads JSON only, so reports can be made on any machine, for finished and for killed runs::

    loaded = read_runs(["results/mnist_lenet"])
    print(text_table(loaded))
    write(loaded, "report.html")

`Table`, `FigureSpec`, `stats` (intervals over seeds), `formatting` (numbers as text) and `style`
(colours) are for your own tables and figures.
"""

from gpnas.report import formatting, stats, style
from gpnas.report._drawings import architecture_figure
from gpnas.report._exports import export_table
from gpnas.report._figures import FigureSpec, Panel, columns_for
from gpnas.report._fronts import front_figures
from gpnas.report._groups import Group, Summary
from gpnas.report._labels import edge_labels, place_labels
from gpnas.report._page import figures, render
from gpnas.report._read import Loaded, Receptive, Run, read_runs
from gpnas.report._results import result_table
from gpnas.report._searches import (
    search_curves,
    search_marks,
    search_measures,
    search_tables,
    search_unit,
)
from gpnas.report._summarise import summarise
from gpnas.report._table import Cell, Column, Table
from gpnas.report._write import markdown_table, text_table, write

__all__ = [
    "Cell", "Column", "FigureSpec", "Group", "Loaded", "Panel", "Receptive", "Run", "Summary",
    "Table", "architecture_figure", "columns_for", "search_curves", "export_table", "edge_labels",
    "figures", "formatting", "front_figures", "markdown_table", "place_labels", "read_runs",
    "render", "result_table", "search_marks", "search_measures", "search_tables", "search_unit",
    "stats", "style", "summarise", "text_table", "write",
]  # fmt: skip
